"""What SPICE netlists say of the operating point: resistors and direct sources, subcircuits flattened.

Follows the ngspice manual, and LTspice where that writes what ngspice does not know. What means nothing at
the operating point is passed over; what would change it and is not worked out is refused with its line.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from jaxphys._checks import InputError
from jaxphys.io.files import MOST_EDGES, shown, to_label

GROUND = "0"


class Part(NamedTuple):
    """A resistor (`r`, ohms) or a source (`v`, volts; `i`, amperes); a short (`l`), or what is open (`c`).

    Inductors are shorts, capacitors are open. Current flows through a source from its first end to its
    second.
    """

    line: int
    kind: str
    name: str
    ends: tuple[str, str]
    value: float


def read_parts(text: str) -> list[Part]:
    """The parts of a netlist in their order; inside an instance `X1` their names and nodes begin with `X1.`.

    Raises `InputError` that names the line and what is wrong.
    """
    netlist = _structure(text)
    # Subcircuits that stand inside one another multiply: they are counted before any is put in.
    if _count(netlist.whole, {}, 0) > _MOST_PARTS:
        raise InputError(
            f"it has more than the {_MOST_PARTS} elements allowed, those of subcircuits counted."
        )
    parts: list[Part] = []
    _expand(_Instance(netlist, "", {}, dict(netlist.whole.names)), netlist.whole, parts)
    return parts


_MOST_PARTS = 2 * MOST_EDGES
_DEEPEST = 50

# Analyses, output and settings; models and functions, which nothing that is read can use.
_PASSED_OVER = {
    *(".op", ".dc", ".tran", ".ac", ".sens", ".tf", ".noise", ".four", ".fourier", ".pz", ".disto", ".sp"),
    *(".print", ".plot", ".probe", ".save", ".savebias", ".meas", ".measure", ".width", ".title", ".wave"),
    *(".nodeset", ".ic", ".model", ".func", ".csparam", ".backanno", ".net"),
}
# Commands of control blocks that change circuits, or fetch other ones.
_CHANGES = {
    *("alter", "altermod", "alterparam", "circbyline", "edit", "include", "load", "loadsnapshot", "reset"),
    *("option", "remcirc", "setcirc", "source", "mc_source", "foreach", "dowhile", "while", "repeat", "if"),
}
_ADVICE = {
    ".include": "copy what it names into the netlist",
    ".inc": "copy what it names into the netlist",
    ".lib": "copy the subcircuits that are used into the netlist",
    ".step": "write out one of its steps",
    ".if": "write out the branch that holds",
}


# Words and numbers


class _Word(NamedTuple):
    """A word of a line, and what stands before its equals sign, in lower case, if there is one."""

    key: str | None
    text: str


class _Card:
    """A line with those that continue it."""

    def __init__(self, line: int, text: str):
        self.line, self.text = line, text
        self.head = text.split(maxsplit=1)[0]

    @cached_property
    def words(self) -> list[_Word]:
        """Without those of commands and analyses, which follow rules of their own."""
        found, words, at = _WORD.findall(self.text), [], 0
        if "=" not in self.text:
            return [_Word(None, text) for text in found]
        while at < len(found):
            has_value = found[at + 1 : at + 2] == ["="]
            last = at + 2 * has_value
            if last >= len(found) or found[last] == "=":
                raise self.wrong("has an equals sign without a name and a value on its sides.")
            words.append(_Word(found[at].lower() if has_value else None, found[last]))
            at = last + 1
        return words

    def wrong(self, complaint: str) -> InputError:
        return InputError(f"line {self.line} {complaint}")


_WORD = re.compile(r"\{[^{}]*\}|'[^']*'|=|[^\s(),=]+")
# A dollar sign may be part of a name.
_COMMENT = re.compile(r";|//|(?:^|(?<=\s))\$")


def _cards(text: str) -> list[_Card]:
    """Lines behind the title, those that go on joined, without comments, up to `.end`."""
    lines: list[tuple[int, list[str]]] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text)[1:], start=2):
        line = _COMMENT.split(line, maxsplit=1)[0].strip()
        if line.lower() == ".end":
            break
        if line.startswith("+") and lines:
            lines[-1][1].append(line[1:])
        elif line and not line.startswith("*"):
            lines.append((number, [line]))
    return [_Card(number, " ".join(joined)) for number, joined in lines]


_SCALES = {"t": 12, "g": 9, "k": 3, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15}
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[ed]([+-]?\d{1,9}))?(.*)", re.ASCII | re.DOTALL)


def to_value(text: str, where: str) -> float:
    """A number as SPICE reads it: digits, a scale factor, and letters that mean nothing.

    Scale factors are `t g meg k m mil u n p f` in either case and `µ`; what else follows is a unit. Raises
    `InputError` where programs differ: on digits behind letters (`4k7`), and on an `a` that may be atto.

    >>> to_value("4.7kOhm", "it"), to_value("1mA", "it"), to_value("2MEG", "it"), to_value("5F", "it")
    (4700.0, 0.001, 2000000.0, 5e-15)
    """
    found = _NUMBER.fullmatch(text.lower())
    if found is None:
        raise InputError(f"{where} must be a number, but it is {shown(text)}.")
    digits, exponent, rest = found[1], int(found[2] or 0), found[3]
    factor = 1.0
    if rest.startswith("meg"):
        exponent, rest = exponent + 6, rest[3:]
    elif rest.startswith("mil"):
        exponent, rest, factor = exponent - 6, rest[3:], 25.4
    elif rest[:1] in _SCALES:
        exponent, rest = exponent + _SCALES[rest[0]], rest[1:]
    elif rest.startswith("a") and not re.fullmatch(r"a|amps?|amperes?", rest):
        raise InputError(
            f"{where} is {shown(text)}, where some programs read an a as atto and others as a unit; "
            "write it with an exponent."
        )
    elif rest[:1] in ("e", "d"):
        raise InputError(f"{where} must be a number, but it is {shown(text)}, whose exponent has no digits.")
    if any(letter.isdigit() for letter in rest) and rest.isalnum():
        raise InputError(
            f"{where} is {shown(text)}, of which some programs leave out the last digits and others do not; "
            "write it with a decimal point, as in 4.7k."
        )
    # Written as one decimal number, so that it is rounded once. No exponent of four digits is a float.
    value = factor * float(f"{digits}e{max(-9999, min(exponent, 9999))}")
    if (rest and not rest.isalpha()) or not math.isfinite(value):
        raise InputError(f"{where} must be a finite number and a unit, but it is {shown(text)}.")
    return value


# Subcircuits and parameters


@dataclass
class _Definition:
    """A subcircuit, or the whole netlist: its ports, its lines, and what is defined in it."""

    line: int
    name: str
    ports: list[str] = field(default_factory=list)
    defaults: dict[str, str] = field(default_factory=dict)
    names: dict[str, str | float] = field(default_factory=dict)
    cards: list[_Card] = field(default_factory=list)
    inner: dict[str, "_Definition"] = field(default_factory=dict)
    outer: "_Definition | None" = None

    def find(self, name: str) -> "_Definition | None":
        """The subcircuit of this name that is seen from inside this one."""
        if name in self.inner or self.outer is None:
            return self.inner.get(name)
        return self.outer.find(name)


@dataclass
class _Netlist:
    whole: _Definition
    global_nodes: set[str] = field(default_factory=lambda: {GROUND})
    # Of parts that do not say theirs, and what resistances are written for.
    temperatures: dict[str, float] = field(default_factory=lambda: {"temp": 27.0, "tnom": 27.0})


def _structure(text: str) -> _Netlist:
    """Subcircuits and parameters of a netlist; directives are followed, passed over or refused."""
    netlist = _Netlist(_Definition(1, ""))
    here, in_control = netlist.whole, False
    for card in _cards(text):
        word = card.head.lower()
        if word in (".control", ".endc"):
            in_control = word == ".control"
        elif in_control:
            if word in _CHANGES:
                raise card.wrong(
                    f"is the command {shown(word)}, which changes the circuit; write what it does."
                )
        elif word in _PASSED_OVER:
            continue
        elif word == ".subckt":
            inner = _definition(card, here)
            # As in ngspice, the first of several that have one name.
            here.inner.setdefault(inner.name, inner)
            here = inner
        elif word == ".ends":
            if here.outer is None:
                raise card.wrong("ends a subcircuit, but none was begun.")
            here = here.outer
        elif word in _DIRECTIVES:
            _DIRECTIVES[word](card, here, netlist)
        elif word[0] == ".":
            advice = _ADVICE.get(word, "write out what it stands for")
            raise card.wrong(f"is {shown(word)}, which is not read; {advice}.")
        elif word[0] not in _KINDS and word[0] != "x":
            raise card.wrong(
                f"is {shown(word)}, but only resistors (R), sources (V, I), inductors (L), capacitors (C) "
                "and subcircuits (X) are read."
            )
        else:
            here.cards.append(card)
    if here.outer is not None:
        raise InputError(f"line {here.line} begins a subcircuit, but no .ends ends it.")
    return netlist


def _definition(card: _Card, outer: _Definition) -> _Definition:
    words = [word for word in card.words[1:] if word.text.lower() != "params:"]
    if not words or words[0].key is not None:
        raise card.wrong("must name the subcircuit that it begins.")
    ports = [to_node(word.text, card.line).lower() for word in words[1:] if word.key is None]
    defaults = {word.key: word.text for word in words if word.key is not None}
    if len(set(ports)) < len(ports) or GROUND in ports:
        raise card.wrong("must name ports that differ, none of them ground.")
    return _Definition(card.line, words[0].text.lower(), ports, defaults, outer=outer)


def _note_parameters(card: _Card, here: _Definition, netlist: _Netlist) -> None:
    for key, text in card.words[1:]:
        if key is None:
            raise card.wrong(f"must have names and values, as in .param r=1k, but it has {shown(text)}.")
        here.names[key] = text


def _note_global_nodes(card: _Card, here: _Definition, netlist: _Netlist) -> None:
    netlist.global_nodes |= {to_node(word.text, card.line).lower() for word in card.words[1:]}


def _note_temperature(card: _Card, here: _Definition, netlist: _Netlist) -> None:
    values = [to_value(word.text, f"the temperature in line {card.line}") for word in card.words[1:]]
    # Of a list of temperatures there is no single operating point.
    netlist.temperatures["temp"] = values[0] if len(values) == 1 else math.nan


def _note_options(card: _Card, here: _Definition, netlist: _Netlist) -> None:
    for key, text in card.words[1:]:
        if key in netlist.temperatures:
            netlist.temperatures[key] = to_value(text, f"the temperature in line {card.line}")
        elif key in ("rshunt", "gshunt", "rseries"):
            raise card.wrong(f"sets {key}, which joins resistors to the circuit; write them out.")


_DIRECTIVES: dict[str, Callable[[_Card, _Definition, _Netlist], None]] = {
    ".param": _note_parameters,
    ".params": _note_parameters,
    ".global": _note_global_nodes,
    ".temp": _note_temperature,
    ".option": _note_options,
    ".options": _note_options,
    ".opt": _note_options,
}


def to_node(text: str, line: int) -> str:
    """The name of a node of a netlist; `gnd` and `gnd!`, in either case, are `GROUND`.

    Raises `InputError` with the `line` on what is no name (`to_label`).
    """
    return to_label(GROUND if text.lower() in ("gnd", "gnd!") else text, f"node in line {line}")


class _Instance(NamedTuple):
    """Where a definition is put in: prefix of names, nodes of ports, parameters, instances around it."""

    netlist: _Netlist
    prefix: str
    nodes: dict[str, str]
    names: dict[str, str | float]

    def node(self, text: str, line: int) -> str:
        """What a node is called outside of all subcircuits, as it is written first."""
        found = self.nodes.get(text.lower())
        if found is None:
            name = to_node(text, line)
            is_global = name.lower() in self.netlist.global_nodes
            found = name if is_global else to_label(self.prefix + name, f"node in line {line}")
            self.nodes[text.lower()] = found
        return found

    def value(self, text: str, where: str, depth: int = 0) -> float:
        """A number, or the parameter of this name."""
        name = text.strip("{}'").strip()
        if name.lower() not in self.names:
            if name != text and not re.fullmatch(r"[+-]?[\w.]*(e[+-]\d+\w*)?", name.lower()):
                raise InputError(
                    f"{where} must be a number or a parameter of the netlist, but it is {shown(text)}, "
                    "which is not worked out; write its value."
                )
            return to_value(name, where)
        found = self.names[name.lower()]
        if isinstance(found, float):
            return found
        if depth > _DEEPEST:
            raise InputError(f"{where} is {shown(text)}, a parameter that is defined by itself.")
        return self.value(found, where, depth + 1)


def _count(definition: _Definition, known: dict[int, int], depth: int) -> int:
    """How many lines there are where all instances are put in."""
    if id(definition) not in known:
        total = len(definition.cards)
        for card in definition.cards:
            inner = _used(definition, card) if card.head[0].lower() == "x" else None
            if inner is not None and depth == _DEEPEST:
                raise card.wrong(f"puts subcircuits into one another more than {_DEEPEST} deep.")
            total += 0 if inner is None else _count(inner, known, depth + 1)
        known[id(definition)] = total
    return known[id(definition)]


def _used(definition: _Definition, card: _Card) -> _Definition | None:
    """The subcircuit that an instance names last, if there is one."""
    plain = [
        word.text.lower() for word in card.words[1:] if word.key is None and word.text.lower() != "params:"
    ]
    return definition.find(plain[-1]) if plain else None


def _expand(instance: _Instance, definition: _Definition, parts: list[Part]) -> None:
    """Put the parts of one instance behind those that there are."""

    for card in definition.cards:
        kind = card.head[0].lower()
        if kind == "x":
            _expand_instance(instance, definition, card, parts)
            continue
        if kind == "k":
            continue
        if len(card.words) < 3 or any(word.key is not None for word in card.words[:3]):
            raise card.wrong(
                "must be a name, two nodes and one value, as in R1 a b 4.7k or V1 a 0 DC 5, "
                f"but it is {shown(' '.join(word.text for word in card.words))}."
            )
        ends = instance.node(card.words[1].text, card.line), instance.node(card.words[2].text, card.line)
        for found, value in _KINDS[kind](card, instance):
            parts.append(Part(card.line, found, instance.prefix + card.head, ends, value))


def _expand_instance(instance: _Instance, definition: _Definition, card: _Card, parts: list[Part]) -> None:
    words = [word for word in card.words[1:] if word.text.lower() != "params:"]
    plain = [word.text for word in words if word.key is None]
    inner = _used(definition, card)
    if inner is None:
        raise card.wrong(
            f"uses a subcircuit that the netlist does not define: {shown(plain[-1:] and plain[-1])}."
        )
    if len(plain) - 1 != len(inner.ports):
        raise card.wrong(
            f"must name {len(inner.ports)} nodes, one for each port of {shown(inner.name)}, "
            f"but it names {len(plain) - 1}."
        )
    prefix = f"{instance.prefix}{card.head}."
    given: dict[str, str | float] = {}
    for key, text in words:
        if key is None:
            continue
        value = instance.value(text, f"parameter {key} in line {card.line}")
        if key not in inner.defaults and not (key == "m" and value == 1):
            raise card.wrong(f"gives {shown(key)}, which is no parameter of {shown(inner.name)}.")
        given[key] = value
    # A default that names itself is the parameter outside.
    for key, text in inner.defaults.items():
        if text.strip("{}' ").lower() == key and key not in given:
            given[key] = instance.value(text, f"parameter {key} in line {inner.line}")
    names = {**instance.names, **inner.defaults, **inner.names, **given}
    nodes = dict(zip(inner.ports, (instance.node(text, card.line) for text in plain[:-1]), strict=True))
    _expand(_Instance(instance.netlist, prefix, nodes, names), inner, parts)


# Parts: what the words behind the two nodes make of them at the operating point

_Found = list[tuple[str, float]]


def _resistor(card: _Card, instance: _Instance) -> _Found:
    where = f"the resistance in line {card.line}"
    # Factors, numbers that change with temperature, and the resistance itself.
    found = {"m": 1.0, "scale": 1.0, "dtemp": 0.0, "tc1": 0.0, "tc2": 0.0, "tce": 0.0}
    last = None
    for key, text in card.words[3:]:
        key = {"resistance": "r", "tc": "tc1"}.get(key or "", key)
        if key is None:
            key = "r" if "r" not in found and last is None else "tc2" if last == "tc1" else None
        if key is None:
            raise card.wrong(f"has {shown(text)} behind its resistance, which is not read.")
        if key in (*found, "r", "temp"):
            found[key] = instance.value(text, where if key == "r" else f"{key} in line {card.line}")
        elif key not in ("tol", "pwr", "ac", "noisy", "noise", "bv_max", "l", "w", "c"):
            raise card.wrong(f"sets {shown(key)}, which is not read; write out what it stands for.")
        last = key
    if "r" not in found:
        raise card.wrong("must have one value, the resistance, but it has none.")
    usual = instance.netlist.temperatures
    warmer = found.get("temp", usual["temp"] + found["dtemp"]) - usual["tnom"]
    if warmer != 0 and (found["tc1"] or found["tc2"] or found["tce"]):
        raise card.wrong("is a resistor away from its nominal temperature; write its resistance there.")
    value = found["r"] * found["scale"] / found["m"] if found["m"] > 0 else math.nan
    if not 1e-300 < value < 1e300:
        raise InputError(f"{where} must be positive, but it is {shown(value)}.")
    return [("r", value)]


def _source(card: _Card, instance: _Instance) -> _Found:
    """The direct value; without it that of the waveform at time zero, as in ngspice; without both nothing."""
    kind, where = card.head[0].lower(), f"the value in line {card.line}"
    said: dict[str, list[str]] = {}
    name = ""
    for key, text in card.words[3:]:
        starts = key or (text.lower() if text.lower() in (*_SIDE_VALUES, *_WAVES) else "" if said else "dc")
        if starts in said:
            raise card.wrong(f"says {starts} more than once.")
        if starts:
            name = starts
            said[name] = [] if key is None and text.lower() == name else [text]
        else:
            said[name].append(text)
    factor = {"i": "m", "v": "rser"}[kind]
    for name, texts in said.items():
        if name not in (*_SIDE_VALUES, *_WAVES, factor, "cpar", "r", "td", "file"):
            raise card.wrong(f"has {shown(name)}, which is not read.")
        if name not in _WAVES and len(texts) > _SIDE_VALUES.get(name, 1):
            raise card.wrong(f"has {shown(texts[-1])} behind its value, which is not read.")
    waves = [name for name in said if name in _WAVES]
    if said.get("dc"):
        value = instance.value(said["dc"][0], where)
    elif waves and "dc" not in said:
        value = _at_time_zero(card, waves, said, instance)
    else:
        value = 0.0
    by = instance.value(said[factor][0], f"{factor} in line {card.line}") if factor in said else None
    if factor == "m":
        return [("i", value * (1.0 if by is None else by))]
    if by and by < 0:
        raise InputError(f"the series resistance in line {card.line} must be positive, but it is {by}.")
    # A source behind a resistance r is a current V / r beside it.
    return [("r", by), ("i", -value / by)] if by else [("v", value)]


def _at_time_zero(card: _Card, waves: list[str], said: dict[str, list[str]], instance: _Instance) -> float:
    where = f"a value in line {card.line}"
    unread = [*waves[1:], *(["file"] if "file" in said else [])]
    numbers = [] if unread else [instance.value(text, where) for text in said[waves[0]]]
    value = None if unread else _WAVES[waves[0]](numbers)
    if value is None:
        raise card.wrong(
            f"has no direct value, and what {shown(waves[0])} is at time zero is not read; write DC."
        )
    return value


# Words of a source that take numbers: how many at most.
_SIDE_VALUES = {"dc": 1, "ac": 2, "distof1": 2, "distof2": 2}


def _sine_at_zero(numbers: list[float]) -> float | None:
    offset, amplitude, _, delay, _, phase = (*numbers, *[0.0] * 6)[:6]
    return None if delay < 0 or len(numbers) < 2 else offset + amplitude * math.sin(math.radians(phase))


def _first_unless_early(delay: int) -> Callable[[list[float]], float | None]:
    """The first of the numbers, if it is there and the delay, the one of this number, is not negative."""
    return lambda numbers: None if not numbers or min([*numbers[delay : delay + 1], 0.0]) < 0 else numbers[0]


def _line_at_zero(numbers: list[float]) -> float | None:
    return None if len(numbers) < 2 or numbers[0] < 0 else numbers[1]


def _unknown_at_zero(numbers: list[float]) -> float | None:
    return None


# Phases of `sffm` and what `am` is at time zero differ between versions of ngspice.
_WAVES: dict[str, Callable[[list[float]], float | None]] = {
    "sin": _sine_at_zero,
    "sine": _sine_at_zero,
    "pulse": _first_unless_early(2),
    "exp": _first_unless_early(2),
    "pwl": _line_at_zero,
    "sffm": lambda numbers: numbers[0] if 0 < len(numbers) <= 5 else None,
    **dict.fromkeys(("am", "trnoise", "trrandom", "external"), _unknown_at_zero),
}


def _open_or_short(card: _Card, instance: _Instance) -> _Found:
    """An inductor is a short and a capacitor open, with the resistances that LTspice puts around them."""
    kind = card.head[0].lower()
    around = {key: text for key, text in card.words[3:] if key in ("rser", "rpar")}
    values = {key: instance.value(text, f"{key} in line {card.line}") for key, text in around.items()}
    if any(value < 0 for value in values.values()):
        raise card.wrong("must have positive resistances around it.")
    if kind == "l":
        return [("r", value) for value in values.values() if value] if values.get("rser") else [("l", 0.0)]
    leak = values.get("rpar", 0.0)
    return [("r", leak)] if leak else [("c", 0.0)]


_KINDS: dict[str, Callable[[_Card, _Instance], _Found]] = {
    "r": _resistor,
    "v": _source,
    "i": _source,
    "l": _open_or_short,
    "c": _open_or_short,
    # Coupled inductors are shorts each.
    "k": lambda card, instance: [],
}
