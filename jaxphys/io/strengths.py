"""What files call the strengths of edges, and in which units: one table for every format.

A name is understood (`Strength`), known not to say enough (a reason), or unknown (None). A caller that finds
numbers under a name that is not understood asks, and never takes every k for 1 in silence.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from jaxphys._checks import InputError
from jaxphys.io.files import plain, shown, to_number

_MOST_NAMES = 1000
_LONGEST_NAME = 100


class Strength(NamedTuple):
    """What the values of edges are.

    - `quantity`: `"conductance"`, `"resistance"`, `"stiffness"`, `"k"` (either of those that grow with the
      strength) or `"weight"` (the same, but other programs may mean something else by it).
    - `factor`: how many SI units the unit in the name is; 1 where it names none.
    """

    quantity: str
    factor: Fraction = Fraction(1)

    @property
    def scale(self) -> tuple[float, float]:
        """What values are multiplied with and divided by; of powers of ten one is 1 and the other exact."""
        whole = self.factor.numerator >= self.factor.denominator
        return (float(self.factor), 1.0) if whole else (1.0, float(1 / self.factor))


# Letters and digits of a name in lower case → what it is; adjectives are taken off first.
_QUANTITIES = {
    "conductance": ("conductance", "conductances", "conduct", "cond", "g"),
    "resistance": ("resistance", "resistances", "r"),
    "stiffness": (
        *("stiffness", "stiffnesses", "springconstant", "springconstants", "springconst", "forceconstant"),
        *("forceconstants", "springk", "kspring", "springstiffness"),
    ),
    "k": ("k",),
    "weight": ("weight", "weights"),
}
_QUANTITY_OF = {name: quantity for quantity, names in _QUANTITIES.items() for name in names}
_ADJECTIVES = {
    *("value", "values", "electric", "electrical", "ohmic", "hydraulic", "hydrodynamic", "thermal", "fluid"),
    *("flow", "edge", "link", "bond", "spring", "resistor", "pipe", "tube", "channel", "vessel", "segment"),
    "elastic",
}
_REASONS = {
    "r": "which may be a resistance or a radius",
    **dict.fromkeys(
        ("conductivity", "conductivities", "resistivity", "resistivities"),
        "which is a property of the material: the conductance of an edge also takes its length and section",
    ),
}

_Dimension = tuple[int, int, int, int, int]  # exponents of kg, m, s, A, K


def _unit(factor: str | int, *dimension: int) -> tuple[Fraction, _Dimension]:
    kg, m, s, a, k = (*dimension, 0, 0, 0, 0, 0)[:5]
    return Fraction(factor), (kg, m, s, a, k)


# Symbols, letters as they are → SI value and dimension. SI brochure, 9th edition (2019).
_SYMBOLS = {
    **dict.fromkeys(("Ω", "\u2126"), _unit(1, 1, 2, -3, -2)),
    **dict.fromkeys(("S", "℧"), _unit(1, -1, -2, 3, 2)),
    **{"g": _unit("1e-3", 1), "m": _unit(1, 0, 1), "s": _unit(1, 0, 0, 1), "A": _unit(1, 0, 0, 0, 1)},
    **{"K": _unit(1, 0, 0, 0, 0, 1), "mol": _unit("6.02214076e23"), "N": _unit(1, 1, 1, -2)},
    **{"Pa": _unit(1, 1, -1, -2), "V": _unit(1, 1, 2, -3, -1), "W": _unit(1, 1, 2, -3)},
    **{"J": _unit(1, 1, 2, -2), "eV": _unit("1.602176634e-19", 1, 2, -2), "cal": _unit("4.184", 1, 2, -2)},
    **dict.fromkeys(("L", "l"), _unit("1e-3", 0, 3)),
    **{"min": _unit(60, 0, 0, 1), "h": _unit(3600, 0, 0, 1), "dyn": _unit("1e-5", 1, 1, -2)},
    **{"bar": _unit("1e5", 1, -1, -2), "mmHg": _unit("133.322387415", 1, -1, -2)},
    **{"cmH2O": _unit("98.0665", 1, -1, -2), "atm": _unit(101325, 1, -1, -2)},
    **dict.fromkeys(("Å", "\u212b"), _unit("1e-10", 0, 1)),
}
# Words, letters of either case → symbols.
_WORDS = {
    **dict.fromkeys(("ohm", "ohms"), "Ω"),
    **dict.fromkeys(("siemens", "mho", "mhos"), "S"),
    **{"newton": "N", "newtons": "N", "pascal": "Pa", "pascals": "Pa", "volt": "V", "volts": "V"},
    **{"amp": "A", "amps": "A", "ampere": "A", "amperes": "A", "watt": "W", "watts": "W", "kelvin": "K"},
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **{"minute": "min", "minutes": "min", "hour": "h", "hours": "h", "joule": "J", "joules": "J"},
    **dict.fromkeys(("liter", "liters", "litre", "litres"), "L"),
    **{"gram": "g", "grams": "g", "angstrom": "Å", "angstroms": "Å"},
}
_PREFIXES = {
    **{"f": "1e-15", "p": "1e-12", "n": "1e-9", "µ": "1e-6", "\u03bc": "1e-6", "u": "1e-6", "m": "1e-3"},
    **{"c": "1e-2", "d": "1e-1", "h": "1e2", "k": "1e3", "K": "1e3", "M": "1e6", "G": "1e9", "T": "1e12"},
}
_PREFIX_WORDS = {
    **{"pico": "1e-12", "nano": "1e-9", "micro": "1e-6", "milli": "1e-3", "centi": "1e-2", "kilo": "1e3"},
    **{"kil": "1e3", "mega": "1e6", "meg": "1e6", "giga": "1e9"},
}
# Who computes in units of his own says so in many ways.
_WITHOUT_UNIT = {
    *("", "1", "-", "au", "a.u.", "a. u.", "arb", "arb.", "arb. units", "arb. u.", "arbitrary", "none"),
    *("arbitrary units", "dimensionless", "unitless", "normalized", "normalised", "lattice units"),
    *("simulation units", "reduced units"),
}
_VOLUME, _MASS, _THERMAL = (-1, 4, 1, 0, 0), (0, 1, 1, 0, 0), (1, 2, -3, 0, -1)
_CONDUCTANCES = {_SYMBOLS["S"][1]: "electrical", _VOLUME: "m³/(Pa s)", _MASS: "kg/(Pa s)", _THERMAL: "W/K"}
_DIMENSIONS: dict[str, frozenset[_Dimension]] = {
    "conductance": frozenset(_CONDUCTANCES),
    "resistance": frozenset(tuple(-each for each in dimension) for dimension in _CONDUCTANCES),  # type: ignore[misc]
    "stiffness": frozenset({(1, 0, -2, 0, 0)}),
}


@lru_cache(maxsize=4096)
def read_name(name: str) -> Strength | str | None:
    """What a name says of the values under it: a strength, why it does not say enough, or nothing.

    Understood are letters of either case, adjectives, and units with prefixes, in brackets or after the name;
    `r` alone may be a radius, and a unit that does not belong to its quantity is none.

    >>> read_name("Hydraulic conductance [mL/min/mmHg]").quantity
    'conductance'
    >>> float(read_name("R_kOhm").factor), read_name("ohms").quantity, read_name("length")
    (1000.0, 'resistance', None)
    >>> read_name("G (ohm)")
    "whose unit 'ohm' is none of conductance"
    """
    name = name.strip()
    # What begins with a sign is not the quantity, but computed from it.
    if not name or len(name) > _LONGEST_NAME or name[0] in "-−/*+":
        return None
    bracket = re.fullmatch(r"([^()\[\]{}]*)[(\[{](.*)[)\]}]", name)
    if bracket:
        stem, text = bracket[1].rstrip(" _-/:,"), bracket[2]
        found = _with_unit(stem, text, name) if stem else _of_unit(text, name)
        return found or _of_unit(name, name)
    bare = _bare(name)
    if bare is not None:
        return bare
    # The unit follows after a mark, or where small letters end.
    reason = None
    for cut in re.finditer(r"[\s_/:,-]+(?:in\s)?|(?<=[a-zΩ])(?=[A-ZΩ])", name):
        unit = name[cut.end() :].replace("_", " ")
        found = _with_unit(name[: cut.start()], unit, name)
        if isinstance(found, Strength):
            return found
        # What follows a name need be no unit: k_initial.
        reason = found if found is not None and _parsed(unit) is not None else reason
    return _of_unit(name, name) or reason


def is_strength(name: str) -> bool:
    """Whether a name is understood."""
    return isinstance(read_name(name), Strength)


def _letters(name: str) -> str:
    """The letters of a name; without its adjectives, unless it is known with them."""
    # Signs and letters of other alphabets count: they may be part of a unit.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_A-Za-z]+|[^\w\s./:,-]", name)
    # A letter that stands alone makes no plural: conductance_s.
    if "".join(words).lower() in _QUANTITY_OF and words[-1].lower() != "s":
        return "".join(words)
    return " ".join(word for word in words if word.lower() not in _ADJECTIVES)


def _bare(name: str) -> Strength | str | None:
    """A name without a unit."""
    letters = _letters(name)
    if letters != "R" and letters.lower() in _REASONS:
        return _REASONS[letters.lower()]
    quantity = _QUANTITY_OF.get(letters.lower())
    return None if quantity is None else Strength(quantity)


def _with_unit(stem: str, text: str, name: str) -> Strength | str | None:
    """A quantity, in the unit that stands in brackets or after it."""
    letters = _letters(stem).lower()
    if letters in _REASONS and letters != "r":
        return _REASONS[letters]
    quantity = _QUANTITY_OF.get(letters)
    if quantity is None:
        return None
    if text.strip().lower() in _WITHOUT_UNIT:
        return _bare(stem)
    unit = _parsed(text)
    if unit is None:
        return f"whose unit {shown(text.strip())} is not understood"
    factor, dimension = unit
    if quantity in ("k", "weight"):
        # The unit says what it is; a resistance is called by no such name.
        fits = [each for each in ("conductance", "stiffness") if dimension in _DIMENSIONS[each]]
        quantity = fits[0] if fits else quantity
    if dimension not in _DIMENSIONS.get(quantity, ()):
        of = quantity if quantity in _DIMENSIONS else "conductance or stiffness"
        return f"whose unit {shown(text.strip())} is none of {of}"
    return _mega_or_milli(name, text) or Strength(quantity, factor)


def _of_unit(text: str, name: str) -> Strength | str | None:
    """What is called by its unit alone: ohms, kOhm, N/m; a few capitals may be anything."""
    unit = _parsed(text)
    if unit is None or (text.strip().isascii() and text.strip().isupper() and len(text.strip()) < 3):
        return None
    quantity = next((each for each, known in _DIMENSIONS.items() if unit[1] in known), None)
    return None if quantity is None else _mega_or_milli(name, text) or Strength(quantity, unit[0])


def _mega_or_milli(name: str, unit: str) -> str | None:
    """Where all is in capitals, MOHM may be either."""
    in_capitals = name == name.upper() and re.search(r"[A-Z]{3}", name) is not None
    if in_capitals and re.match(r"\s*M(?!HO|IN|ETE|ETR|EG|MHG|OL)", unit):
        return f"whose unit {shown(unit.strip())} may be mega or milli, for capitals do not tell"
    return None


_TOKEN = re.compile(
    r"\s*(?:(?P<word>cmH2O|[^\W\d_]+)(?:\s?\^)?\s?(?P<power>[+-]?\d+)?|(?P<one>1)(?!\d)|(?P<mark>[*/()]))"
)
_MARKS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−·⋅×•.", "0123456789--*****")


def _parsed(text: str) -> tuple[Fraction, _Dimension] | None:
    """The value of a unit such as `mL/min/mmHg`, `Pa s m^-3` or `N/m`, and its dimension; None if it is none.

    Each `/` (or `per`) divides by the one unit, or bracket, that follows.
    """
    text = re.sub(r"(?<![^\W\d])per(?![^\W\d])", "/", text.translate(_MARKS).replace("**", "^")).strip()
    tokens: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        place = match.end()
        tokens.append((match["word"] or match["one"] or match["mark"], match["power"] or "1"))
    try:
        value, rest = _product(tokens)
    except (LookupError, ValueError):
        return None
    return value if not rest and tokens else None


_Tokens = list[tuple[str, str]]


def _product(tokens: _Tokens) -> tuple[tuple[Fraction, _Dimension], _Tokens]:
    """Units one after the other, up to a closing bracket; and the tokens that are left."""
    factor, dimension, sign, first = Fraction(1), (0, 0, 0, 0, 0), 1, True
    while tokens and tokens[0][0] != ")":
        if tokens[0][0] in "*/":
            if first:
                raise ValueError(tokens)
            sign, tokens = (1 if tokens[0][0] == "*" else -1), tokens[1:]
        (value, its), tokens = _factor(tokens)
        factor *= value**sign
        dimension = tuple(a + sign * b for a, b in zip(dimension, its, strict=True))  # type: ignore[assignment]
        sign, first = 1, False
    if first:
        raise ValueError(tokens)
    return (factor, dimension), tokens


def _factor(tokens: _Tokens) -> tuple[tuple[Fraction, _Dimension], _Tokens]:
    (word, power), rest = tokens[0], tokens[1:]
    if word == "1":
        return (Fraction(1), (0, 0, 0, 0, 0)), rest
    if word == "(":
        value, rest = _product(rest)
        if rest[0][0] != ")":
            raise ValueError(tokens)
        return value, rest[1:]
    exponent = int(power)
    if abs(exponent) > 9:
        raise ValueError(tokens)
    factor, dimension = _symbol(word)
    return (factor**exponent, tuple(exponent * each for each in dimension)), rest  # type: ignore[return-value]


def _symbol(word: str) -> tuple[Fraction, _Dimension]:
    """One unit, perhaps with a prefix; raises KeyError."""
    known = _SYMBOLS.get(word) or _SYMBOLS.get(_WORDS.get(word.lower(), ""))
    if known is not None:
        return known
    for prefix, size in _PREFIX_WORDS.items():
        if word.lower().startswith(prefix) and word.lower()[len(prefix) :] in _WORDS:
            factor, dimension = _SYMBOLS[_WORDS[word.lower()[len(prefix) :]]]
            return Fraction(size) * factor, dimension
    rest = word[1:]
    factor, dimension = _SYMBOLS.get(rest) or _SYMBOLS[_WORDS[rest.lower()]]
    return Fraction(_PREFIXES[word[0]]) * factor, dimension


class Said(NamedTuple):
    """What the caller says of a file, which comes before what the file says.

    - `kind`: of network.
    - `values`: which column, attribute or array holds the strengths and what they are:
      `"weight=resistance (kOhm)"`.
    - `unweighted`: that every k is 1, whatever the file gives.
    - `matrix`: what a square of numbers is, one of `jaxphys.io.matrices.MEANINGS`.
    - `name`: how messages call the file.
    """

    kind: str | None = None
    values: str | None = None
    unweighted: bool = False
    matrix: str | None = None
    name: str = "the file"


_UNIT_WORDS = {"unit", "units", "uom"}


def _unit_stem(name: str) -> str | None:
    """Of what `resistance_unit` or `units` is the unit, in small letters; None for other names."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name[:_LONGEST_NAME])]
    words = [word for word in words if word not in ("of", "the", *_ADJECTIVES)]
    if words and words[-1] in _UNIT_WORDS:
        return "".join(words[:-1])
    if words and words[0] in _UNIT_WORDS:
        return "".join(words[1:])
    joined = re.fullmatch(r"(.+?)units?", plain(name))
    return joined[1] if joined and joined[1] in _QUANTITY_OF else None


def is_unit_name(name: str) -> bool:
    """Whether values under a name are the units of others: `unit`, `resistance_unit`."""
    return _unit_stem(name) is not None


def may_be_unit(value: object) -> bool:
    """Whether a value of an edge may be a unit of its strength: `kOhm`, or nothing."""
    return value is None or (isinstance(value, str) and (not value.strip() or _hinted([value]) is not None))


def _are_units(texts: Sequence[object]) -> bool:
    """Whether all texts are units of strengths, whatever their name; S alone may be anything."""
    return all(map(may_be_unit, texts)) and any(
        isinstance(_of_unit(text, ""), Strength) for text in dict.fromkeys(map(_as_text, texts)) if text
    )


def units_of(
    names: Iterable[str],
    of_edges: Callable[[str], Sequence[object]],
    of_graph: Mapping[str, object],
    count: int,
) -> dict[str, Sequence[object]]:
    """Units that a file gives beside the values of its edges, by the names under which it gives them.

    **Arguments**

    - `names`: of all that edges have. `of_edges`: a name → what each edge has of it, `count` values.
    - `of_graph`: what the graph as a whole has, by name; its units are those of every edge.

    Returns a unit for each edge by name, as text; a column that is the unit of another one is left out where
    that is no strength.
    """
    names = list(names)
    given = {name: of_edges(name) for name in names if not is_strength(name)}
    found = {name: texts for name, texts in given.items() if is_unit_name(name) or _are_units(texts)}
    for name, value in of_graph.items():
        if not is_unit_name(name):
            continue
        each = (
            {f"{of}_{name}": unit for of, unit in value.items()} if isinstance(value, dict) else {name: value}
        )
        found |= {of: [unit] * count for of, unit in each.items() if is_unit_name(of) and of not in found}
    others = {plain(name) for name in names if not is_strength(name)}
    return {
        name: texts
        for name, texts in found.items()
        if not (_unit_stem(name) and _unit_stem(name) in others)
        and any(text not in ("", None) for text in texts)
    }


def in_units(
    called: tuple[str, Strength], units: Mapping[str, Sequence[object]], said: Said
) -> tuple[tuple[str, Strength], list[Strength] | None]:
    """What strengths are, in the units that a file gives them edge by edge; None where it gives none.

    Raises `InputError` where these are not understood or contradict the name of the strengths.
    """
    name, strength = called
    stated = name if said.values is None else said.values.rpartition("=")[2]
    names_unit = not isinstance(_bare(stated.strip()), Strength)
    if names_unit and said.values is not None:
        return called, None
    fitting = {each: texts for each, texts in units.items() if _concerns(each, texts, name, strength)}
    if len(fitting) > 1:
        given = " and ".join(map(shown, itertools.islice(fitting, 2)))
        raise InputError(f"it must give the unit of {shown(name)} once, but {given} both do; take one out.")
    for column, texts in fitting.items():
        known: dict[str | None, Strength] = {}
        for text in dict.fromkeys(map(_as_text, texts)):
            found = _with_unit(strength.quantity, text, text) if text else None
            if not isinstance(found, Strength):
                why = f"{found}".removeprefix("whose unit ") if found else f"{shown(text)} is no unit"
                quantity = strength.quantity if strength.quantity in _DIMENSIONS else "conductance"
                raise InputError(
                    f"{shown(column)} must hold a unit of {shown(name)} for each edge, but {why}; mend it, "
                    f"or say what the values are, {_told(name, f'{quantity} (UNIT)')}."
                )
            if names_unit and (found.quantity, found.factor) != strength[:2]:
                raise InputError(
                    f"{shown(column)} says {shown(text)}, but {shown(name)} another unit; take one out."
                )
            known[text] = found
        if len({found.quantity for found in known.values()}) > 1:
            raise InputError(f"{shown(column)} must hold units of one quantity, but it mixes several.")
        return (name, next(iter(known.values()))), [known[_as_text(text)] for text in texts]
    return called, None


def _as_text(value: object) -> str | None:
    """A unit as it stands in a file; what is no text can be none."""
    return value.strip() if isinstance(value, str) else None


def _concerns(column: str, texts: Sequence[object], name: str, strength: Strength) -> bool:
    """Whether units in a column are those of strengths: by its name, or because nothing else has them."""
    stem = _unit_stem(column) or ""
    own = ("", plain(name), strength.quantity, "strength", "strengths", "k")
    if stem in own or _QUANTITY_OF.get(stem) == strength.quantity:
        return True
    return stem not in _QUANTITY_OF and _hinted(texts) is not None


def _hinted(texts: Iterable[object]) -> str | None:
    """The quantity that units in a file belong to; None where they are not of strengths."""
    first = next((text for text in texts if isinstance(text, str) and text.strip()), None)
    return None if first is None else _quantity_in(first.strip()[:_LONGEST_NAME])


@lru_cache(maxsize=4096)
def _quantity_in(text: str) -> str | None:
    unit = _parsed(text)
    return next((each for each, known in _DIMENSIONS.items() if unit and unit[1] in known), None)


def chosen(names: Iterable[str], said: Said) -> tuple[str, Strength] | None:
    """The name under which edges have their strengths, and what they are; None where no name is understood.

    Raises `InputError` where the caller names none that there is, and where several are understood.
    """
    names = list(itertools.islice(names, _MOST_NAMES + 1))
    if len(names) > _MOST_NAMES:
        raise InputError(f"it has more than the {_MOST_NAMES} kinds of values of an edge allowed.")
    if said.unweighted:
        return None
    if said.values is not None:
        return _as_said(names, said.values)
    found = {name: each for name in names if isinstance(each := read_name(name), Strength)}
    # Beside what is a strength by its name, a weight is something else.
    firm = {name: each for name, each in found.items() if each.quantity != "weight"} or found
    if len(firm) > 1:
        given = " and ".join(shown(name) for name in itertools.islice(firm, 3))
        first = next(iter(firm))
        raise InputError(
            f"it must give one strength of its edges, but it gives {given}; take one out, or say which to "
            f"take: {_told(first, *(_meanings(first) or (firm[first].quantity,)))}."
        )
    return next(iter(firm.items()), None)


def check_said(values: str | None) -> None:
    """Require `NAME=MEANING` with a meaning that is understood, or None."""
    if values is None:
        return
    name, _, meaning = values.rpartition("=")
    found = read_name(meaning)
    if not name or not isinstance(found, Strength) or found.quantity == "weight":
        raise InputError(
            "Argument `values` must be NAME=MEANING with a meaning such as conductance, resistance (kOhm) or "
            f"stiffness, but it is {shown(values)}."
        )


def _as_said(names: list[str], values: str) -> tuple[str, Strength]:
    name, _, meaning = values.rpartition("=")
    strength = read_name(meaning)
    assert isinstance(strength, Strength)
    wanted = name.strip()
    if wanted not in names:
        alike = [each for each in names if plain(each) == plain(wanted)]
        if len(alike) != 1:
            there = ", ".join(shown(each) for each in names[:5]) or "none"
            raise InputError(f"its edges have no values called {shown(wanted)}; there are: {there}.")
        wanted = alike[0]
    return wanted, strength


def _told(name: str, *meanings: str) -> str:
    """How a caller says what values are."""
    known = {"k": "conductance", "weight": "conductance"}
    said = " or ".join(f"--values={f'{name[:_LONGEST_NAME]}={known.get(each, each)}'!r}" for each in meanings)
    return f"{said} (in Python and configs `values`)"


def _meanings(name: str) -> tuple[str, ...]:
    """What the name of values suggests that they are, with the unit in it: what a caller may want to say."""
    if not name or len(name) > _LONGEST_NAME or name[0] in "-−/*+":
        return ()
    bracket = re.fullmatch(r"[^()\[\]{}]*[(\[{](.*)[)\]}]", name.strip())
    tails = [bracket[1]] if bracket else []
    tails += [name[cut.end() :] for cut in re.finditer(r"[\s_/:,-]+|(?<=[a-zΩ])(?=[A-ZΩ])", name)]
    for tail in (*tails, name):
        text = tail.strip().strip("()[]{}" if tail.startswith(tuple("([{")) else "").replace("_", " ")
        # In brackets even a few capitals are a unit.
        found = _of_unit(f"({text})" if bracket and text.isupper() and len(text) < 3 else text, text)
        if isinstance(found, Strength):
            return (f"{found.quantity} ({text})",)
        if found is not None:
            # Mega or milli: the caller alone knows.
            return tuple(f"{_hinted([text])} ({prefix}{text[1:].capitalize()})" for prefix in "mM")
    words = set(re.findall(r"[a-z]+", name.lower()))
    stems = {
        "resist": "resistance",
        "conduct": "conductance",
        "admittance": "conductance",
        "stiff": "stiffness",
    }
    if plain(name).endswith(("ivity", "ivities")):
        return ()
    if words & {"r", "impedance", "ohmic"}:
        return ("resistance",)
    return tuple(is_a for stem, is_a in stems.items() if any(word.startswith(stem) for word in words))[:1]


# What tables have beside strengths: which edge, of what sort, and how it is drawn; never how strong.
_STRUCTURE = {
    *("id", "ids", "edgeid", "linkid", "key", "index", "idx", "number", "no", "nr", "row", "line"),
    *("label", "labels", "name", "names", "type", "class", "kind", "group", "layer", "color", "colour"),
    *("comment", "remark", "note", "description", "url", "directed", "timeset", "interval", "edge", "link"),
    *("segment", "segname", "source", "target"),
}


class Unknown:
    """Values of edges whose names are not understood; looks for those that hold numbers.

    `counter` is a column that may count lines: one without a name, before all others.
    """

    def __init__(self, names: Iterable[str], counter: str | None = None) -> None:
        # Name → whether a number other than 1 was seen; a column of ones says what no column says.
        self._numeric = {
            name: False for name in names if plain(name) not in _STRUCTURE and not is_unit_name(name)
        }
        self._ones: set[str] = set()
        self._inside: set[str] = set()
        self._counter, self._last = counter, -1.0

    def __iter__(self) -> Iterator[str]:
        return iter(self._numeric)

    def __bool__(self) -> bool:
        return bool(self._numeric)

    def look(self, values: Mapping[str, object]) -> None:
        """See the values of one more edge."""
        for name in list(self._numeric):
            value = values.get(name)
            if value is None or value == "":
                continue
            numbers = [number for each in _flat(value) if not math.isnan(number := to_number(each))]
            if name == self._counter and numbers and numbers[0].is_integer() and numbers[0] > self._last:
                self._last = numbers[0]
                continue
            if numbers and isinstance(value, dict | list):
                self._inside.add(name)
            if any(number != 1 for number in numbers):
                self._numeric[name] = True
            elif numbers:
                self._ones.add(name)
            elif read_name(name) is None:
                del self._numeric[name]

    def check(self, units: Mapping[str, Sequence[object]] | None = None) -> None:
        """Raise `InputError` where numbers were found: they may be the strengths.

        Ones may be too, where something else in the file has units of strengths.
        """
        texts = itertools.chain.from_iterable((units or {}).values())
        hint = _hinted(texts)
        found = [
            name
            for name, numeric in self._numeric.items()
            if numeric or isinstance(read_name(name), str) or (hint is not None and name in self._ones)
        ]
        if not found:
            return
        named = [f"{shown(name)}{_because(read_name(name))}" for name in found[:3]]
        listed = ", ".join(named) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise InputError(
            f"its edges have numbers that are no strengths by their names: {listed}; "
            f"{self._cure(found, hint)}, or that every k is 1, --unweighted (in Python and configs "
            "`unweighted`)."
        )

    def _cure(self, found: list[str], hint: str | None) -> str:
        """What to do about names that are not understood, without a guess that the name does not suggest."""
        reachable = [name for name in found if name not in self._inside and name.strip()]
        if not reachable:
            what = "take the numbers out of what holds them" if found[0].strip() else "name the column"
            return f"{what}, as conductance, resistance or stiffness of each edge, or say"
        # One that suggests a meaning before one that does not.
        name = next((each for each in reachable if _meanings(each)), reachable[0])
        rename = "rename the right one to conductance, resistance or stiffness, or say what it is"
        meanings = _meanings(name) or ((hint,) if hint else ())
        if meanings:
            return f"{rename}, {_told(name, *meanings)}"
        return f"{rename}, {_told(name, 'MEANING')} with one of these three as MEANING"


def _flat(value: object) -> Iterable[object]:
    """What JSON lists or objects hold, of which one may be a strength."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else (value,)


def _because(reason: Strength | str | None) -> str:
    return f" ({reason})" if isinstance(reason, str) else ""
