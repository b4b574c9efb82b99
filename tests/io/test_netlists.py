"""What netlists say of the operating point: by hand, and held against ngspice, which reads the same files."""

import itertools
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers import assert_close

import jaxphys as jp
from jaxphys import InputError, cli
from jaxphys.io import export_file, make_circuit, read_netlist, read_network, save_netlist
from jaxphys.io.circuits import parse_netlist
from jaxphys.io.spice import to_value

pytestmark = pytest.mark.float64

NGSPICE = shutil.which("ngspice")
needs_ngspice = pytest.mark.skipif(
    NGSPICE is None and "JAXPHYS_TEST_NGSPICE" not in os.environ, reason="ngspice is not installed"
)


def simulated(text, folder):
    """Node voltages by name in lower case, as ngspice finds them in batch, printed to seventeen digits."""
    control = ".options reltol=1e-12 gmin=1e-30\n.control\nset numdgt=17\nop\nprint all\nquit\n.endc\n.end\n"
    (folder / "net.cir").write_text(f"{text}\n{control}", encoding="utf-8")
    command = [NGSPICE or "ngspice", "-b", "net.cir"]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100).stdout
    found = re.findall(r"^(?:v\()?([^\s()]+)\)? = (\S+)$", printed, flags=re.MULTILINE)
    return {name: float(value) for name, value in found if "#" not in name}


def voltages(text):
    circuit = parse_netlist(text)
    names = [label.lower() for label in circuit.labels]
    return dict(zip(names, np.asarray(circuit.equilibrate().x).tolist(), strict=True))


FACTORS = {
    **{"": 1.0, "t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "mil": 25.4e-6, "u": 1e-6},
    **{"\u00b5": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15},
}
# What begins with a scale letter is one where no factor stands before it: `5F` are femto.
UNITS = ("", "A", "V", "Ohm", "ohms", "Amps", "F", "Hz", "S", "\u03a9", "\u2126", "Volts", "Watt", "H", "C")
VALUES = [
    digits + factor + unit
    for digits, factor, unit in itertools.product(
        ("3", "4.7", ".5e1", "2.E-1"), (*FACTORS, *map(str.upper, FACTORS)), UNITS
    )
    # The sign for micro has no upper case of its own.
    if factor != "\u039c"
]


def test_units_mean_nothing_behind_a_scale_factor():
    """`1mA` is a milliampere: a factor is never read as a unit because a letter follows it."""
    assert len(VALUES) > 1000
    for text in VALUES:
        digits, factor, _ = re.fullmatch(
            r"([\d.]+(?:[eE]-?\d)?)(meg|mil|[tgkmu\u00b5npf]?)(\D*)", text, re.I
        ).groups()
        assert_close(to_value(text, "it"), float(digits) * FACTORS[factor.lower()], relative=1e-15)
    assert to_value("4.7k", "it") == 4700.0
    assert to_value("1.1meg", "it") == 1.1e6
    # The Greek letter, which ngspice takes for a unit, is meant as the sign for micro, too.
    assert to_value("3\u03bcA", "it") == 3e-6
    circuit = parse_netlist("title\nI1 0 a 1mA\nR1 a 0 1k\n")
    assert_close(circuit.equilibrate().x[circuit.labels.index("a")], 1.0, relative=1e-14)


@needs_ngspice
@pytest.mark.parametrize("kind", ["I", "R"])
def test_ngspice_reads_every_factor_and_unit_alike(kind, tmp_path):
    lines = ["title"]
    for i, text in enumerate(VALUES):
        current, resistance = (text, "1") if kind == "I" else ("1", text)
        lines += [f"I{i} 0 n{i} {current}", f"R{i} n{i} 0 {resistance}"]
    theirs = simulated("\n".join(lines), tmp_path)
    assert len(theirs) == len(VALUES)
    for i, text in enumerate(VALUES):
        assert_close(to_value(text, "it"), theirs[f"n{i}"], relative=3e-15)


@pytest.mark.parametrize(
    "text",
    [
        "4k7",
        "4R7",
        "1meg5",
        "2u2",
        "1k5ohm",
        "5atto",
        "1e",
        "1em",
        "1..5",
        "0x10",
        "inf",
        "nan",
        "1e400",
        "1_k",
        "10%",
        "--1",
        "",
        "k",
        "1e5e5",
        "1 k",
    ],
)
def test_what_programs_read_differently_is_no_number(text):
    with pytest.raises(InputError, match=r"^it "):
        to_value(text, "it")


# A few lines, of whose names an @ makes another one for every entry, and the voltage of the node b@.
AT_REST = {
    # Resistors
    "a name before the value": ("V1@ a@ 0 6\nR1@ a@ b@ R=1k\nR2@ b@ 0 resistance = 2k", 4.0),
    "side by side": ("V1@ a@ 0 6\nR1@ a@ b@ 1k m=2\nR2@ b@ 0 1k M=1", 4.0),
    "scaled": ("V1@ a@ 0 6\nR1@ a@ b@ 1k scale=2 m=4\nR2@ b@ 0 1k", 4.0),
    "colder and warmer": ("V1@ a@ 0 6\nR1@ a@ b@ 1k tc1=1m tc2=2u\nR2@ b@ 0 2k tc=5m dtemp=0 tce=1", 4.0),
    "warm without a coefficient": ("V1@ a@ 0 6\nR1@ a@ b@ 1k dtemp=30\nR2@ b@ 0 2k temp=50 tc1=0", 4.0),
    "noise and alternating currents": ("V1@ a@ 0 6\nR1@ a@ b@ 1k ac=5 noisy=0\nR2@ b@ 0 2k noise=0", 4.0),
    "micro": ("V1@ a@ 0 6\nR1@ a@ b@ 10\u00b5\nR2@ b@ 0 20\u00b5Ohm", 4.0),
    "a parenthesis": ("V1@ (a@ 0) (6)\nR1@ (a@, b@) 1k\nR2@ b@ gnd 2k", 4.0),
    # Sources
    "nothing": ("V1@ b@ c@\nR1@ b@ 0 1k\nR2@ c@ 0 1k\nI1@ 0 c@ 2m\nI2@ b@ 0", 1.0),
    "alternating alone": ("V1@ a@ 0 AC 1 90\nI1@ 0 b@ 1m\nR1@ a@ b@ 2k\nR2@ b@ 0 2k", 1.0),
    "alternating, too": ("V1@ a@ 0 AC 1 DC 6\nR1@ a@ b@ 1k\nR2@ b@ 0 2k", 4.0),
    "distortion": ("V1@ a@ 0 6 DISTOF1 0.1 DISTOF2 .1 90\nR1@ a@ b@ 1k\nR2@ b@ 0 2k", 4.0),
    "direct with equals signs": ("V1@ a@ 0 DC=6 AC=1\nR1@ a@ b@ 1k\nR2@ b@ 0 2k", 4.0),
    "direct beside a sine": ("V1@ b@ 0 DC 5 SIN(1 2 1k)\nR1@ b@ 0 1k", 5.0),
    "a sine beside direct": ("V1@ b@ 0 5V AC 1 SINE(1 2 1k)\nR1@ b@ 0 1k", 5.0),
    "direct nothing": ("V1@ b@ 0 DC 0 PULSE(1 5)\nR1@ b@ 0 1k", 0.0),
    "direct beside amplitude modulation": ("V1@ b@ 0 DC 5 AM(.5 1 20k 5MEG 1m)\nR1@ b@ 0 1k", 5.0),
    "a sine": ("V1@ b@ 0 SIN(1 2 1kHz)\nR1@ b@ 0 1k", 1.0),
    "a sine by words": ("V1@ b@ 0 sin 1 2 1k\nR1@ b@ 0 1k", 1.0),
    "a sine with a phase": ("V1@ b@ 0 SIN(1 2 1k 0 100 30)\nR1@ b@ 0 1k", 2.0),
    "a sine with a phase, later": ("V1@ b@ 0 SIN(1 2 1k 1m 0 90)\nR1@ b@ 0 1k", 3.0),
    "a pulse": ("V1@ b@ 0 PULSE(1 5 0 1n 1n 1u 2u)\nR1@ b@ 0 1k", 1.0),
    "a short pulse": ("V1@ b@ 0 PULSE (2 5)\nR1@ b@ 0 1k", 2.0),
    "exponentials": ("V1@ b@ 0 EXP(1 4 2n 30n 60n 40n)\nR1@ b@ 0 1k", 1.0),
    "straight lines": ("V1@ b@ 0 PWL(0 3 1 5)\nR1@ b@ 0 1k", 3.0),
    "straight lines, later": ("V1@ b@ 0 PWL(1m 3 2m 5)\nR1@ b@ 0 1k", 3.0),
    "frequency modulation": ("V1@ b@ 0 SFFM(1 2 20k 5 1k)\nR1@ b@ 0 1k", 1.0),
    "several current sources": ("I1@ 0 b@ 1mA m=2\nR1@ b@ 0 1kOhm", 2.0),
    "sources in a row": ("V1@ c@ 0 1\nV2@ d@ c@ 2\nV3@ d@ b@ -1\nR1@ b@ 0 1k", 4.0),
    "a current by way of a source": ("I1@ 0 c@ 1m\nV1@ c@ b@ 1\nR1@ b@ 0 1k", 1.0),
    "upside down": ("V1@ 0 a@ 6\nR1@ a@ b@ 1k\nR2@ b@ 0 2k", -4.0),
    # Inductors and capacitors
    "shorts": ("V1@ a@ 0 6\nL1@ a@ c@ 1m\nR1@ c@ b@ 1k\nR2@ b@ d@ 2k\nL2@ d@ 0 1 ic=5\nK1@ L1@ L2@ .9", 4.0),
    "open": ("V1@ a@ 0 6\nR1@ a@ b@ 1k\nR2@ b@ 0 2k\nC1@ a@ b@ 1u\nC2@ b@ 0 1uF ic=5", 4.0),
    # Names
    "dollar signs": ("V$1@ a$@ 0 6\nR$1@ a$@ b@ 1k $ R3@ b@ 0 1\nR2@ b@ 0 2k", 4.0),
    "comments": ("V1@ a@ 0 6;5\n* c\n$ R3@ b@ 0 1\n; c\n// c\nR1@ a@ b@ 1k//5\nR2@ b@ 0\n* c\n\n+ 2k", 4.0),
    "either case": ("v1@ A@ 0 DC 6\nr1@ a@ B@ 1K\nR2@ b@ Gnd 2K", 4.0),
    # Subcircuits
    "a subcircuit": (
        "V1@ a@ 0 6\nX1@ a@ b@ s@\nR2@ b@ 0 2k\n.subckt s@ p q\nR1 p m .5k\nR2 m q .5k\n.ends",
        4.0,
    ),
    "one in another": (
        "V1@ a@ 0 6\nX1@ a@ b@ s@\n.subckt s@ p q\nR1 p m .5k\nX2 m q 0 T\n.subckt t P q r\n"
        "R1 p q .5k\nRm q mid 1k\nR2 mid r 1k\n.ends t\n.ends s@",
        4.0,
    ),
    "ground inside": (
        "V1@ a@ 0 6\nX1@ a@ b@ s@\n.subckt s@ p q\nR1 p q 1k\nR2 q m 1k\nR3 m GND 1k\n.ends",
        4.0,
    ),
    "sources inside": ("X1@ b@ s@\nR2@ b@ 0 1k\n.subckt s@ p\nV1 m 0 6\nI1 0 p 2m\nR1 m p 1k\n.ends", 4.0),
    "a global node": ("V1@ v@ 0 6\n.global v@\nX1@ b@ s@\nR2@ b@ 0 2k\n.subckt s@ p\nR1 p v@ 1k\n.ends", 4.0),
    "parameters": (
        ".param r@=1k s@ = {r@}\nV1@ a@ 0 6\nX1@ a@ b@ t@ r={s@}\nR2@ b@ 0 'u@'\n.param u@=2kOhm\n"
        ".subckt t@ p q r=5k\nR1 p q {r}\n.ends",
        4.0,
    ),
    "parameters inside": (
        ".param r@=9k\nV1@ a@ 0 6\nX1@ a@ b@ t@ params: r=1k\nX2@ b@ 0 t@\n"
        ".subckt t@ p q params: r=2k\n.param r@={r}\nX3 p q u@\n.ends\n.subckt u@ p q\nR1 p q {r@}\n.ends",
        4.0,
    ),
    # Directives
    "what means nothing": (
        "V1@ a@ 0 6\nR1@ a@ b@ 1k\nR2@ b@ 0 2k\n.sens v(b@)\n.tf v(b@) V1@\n.noise v(b@) V1@ dec 10 1 10\n"
        ".four 1k v(b@)\n.pz a@ 0 b@ 0 vol pol\n.model d@ d(is=1e-14)\n.ic v(b@)=0\n.func f@(x) {x*2}\n"
        ".temp 27\n.options tnom=27\n.csparam z@=1",
        4.0,
    ),
}


def written_out():
    texts = [lines.replace("@", f"_{i}") for i, (lines, _) in enumerate(AT_REST.values())]
    return "title\n" + "\n".join(texts)


def test_operating_points_by_hand():
    found = voltages(written_out())
    wrong = {
        name: (found[f"b_{i}"], value)
        for i, (name, (_, value)) in enumerate(AT_REST.items())
        if abs(found[f"b_{i}"] - value) > 1e-12
    }
    assert wrong == {}


@needs_ngspice
def test_ngspice_finds_the_same_operating_points(tmp_path):
    """Every construct above, and every node, those inside of subcircuits by the same names."""
    ours, theirs = voltages(written_out()), simulated(written_out(), tmp_path)
    del ours["0"]
    assert sorted(ours) == sorted(theirs)
    assert any(re.fullmatch(r"x1_\d+\.x2\.mid", name) for name in ours)
    assert_close([theirs[name] for name in ours], list(ours.values()), relative=1e-11)


@pytest.mark.parametrize(
    ("lines", "saying"),
    [
        ("R9 a b 4k7", "the resistance in line 5 is '4k7', of which some programs leave out the last digits"),
        ("R9 a b {2*1k}", "the resistance in line 5 must be a number or a parameter of the netlist"),
        ("R9 a b r", "the resistance in line 5 must be a number, but it is 'r'"),
        (".param r=s s={r}\nR9 a b {r}", "line 6 is 's', a parameter that is defined by itself"),
        ("R9 a b 1k 5", "line 5 has '5' behind its resistance"),
        ("R9 a b 1k mymodel=3", "line 5 sets 'mymodel'"),
        ("R9 a b mymodel 1k\n.model mymodel r(tc1=1)", "the resistance in line 5 must be a number"),
        ("R9 a b 1k m=0", "the resistance in line 5 must be positive"),
        ("R9 a b 1k tc=1m dtemp=5", "line 5 is a resistor away from its nominal temperature"),
        ("R9 a b 1k tc1=1m\n.temp 50", "line 5 is a resistor away from its nominal temperature"),
        ("R9 a b 1k tc2=1m\n.options temp = 50", "line 5 is a resistor away from"),
        ("R9 a b 1k tc=0,1u\n.temp 27 50", "line 5 is a resistor away from"),
        (".options rshunt=1meg", "line 5 sets rshunt, which joins resistors to the circuit"),
        (".lib parts.lib", "line 5 is '.lib', which is not read; copy the subcircuits"),
        (".step param r 1 2 1", "line 5 is '.step', which is not read; write out one of its steps"),
        (".if (x)", "line 5 is '.if'"),
        ("D9 a 0 d1", "line 5 is 'd9', but only resistors"),
        ("V9 c 0 PULSE(1 5 -1u)", "what 'pulse' is at time zero is not read; write DC"),
        ("V9 c 0 PWL(-1 3 1 5)", "what 'pwl' is at time zero is not read"),
        ("V9 c 0 PWL file=x.txt", "what 'pwl' is at time zero is not read"),
        ("V9 c 0 SFFM(1 2 20k 5 1k 90)", "what 'sffm' is at time zero is not read"),
        ("V9 c 0 TRNOISE(1 1n)", "what 'trnoise' is at time zero is not read"),
        ("V9 c 0 3 DC 5", "line 5 says dc more than once"),
        ("V9 c 0 3 4", "line 5 has '4' behind its value"),
        ("V9 c 0 4 m=2", "line 5 has 'm', which is not read"),
        ("V9 c 0 4 DC=", "line 5 has an equals sign without a name"),
        (
            "V9 a 0 1",
            "line 5 holds what is held already, so that voltage sources or inductors form a loop: 'V9'",
        ),
        ("V8 a c 1\nV9 c b 1\nV7 0 b 3", "line 7 holds what is held already"),
        ("L9 a 0 1m", "line 5 holds what is held already"),
        ("C9 c 0 1u", "line 5 names a node that nothing which conducts joins to another: 'c'"),
        (
            "C9 c 0 1u\nR9 c d 1k",
            "node 'c' in line 5 and its component of the circuit are not joined to ground",
        ),
        ("I9 c 0 1u", "node 'c' in line 5 and its component"),
        ("X9 a b none", "line 5 uses a subcircuit that the netlist does not define: 'none'"),
        ("X9 a b s\n.subckt s p\nR1 p 0 1\n.ends", "line 5 must name 1 nodes, one for each port of 's'"),
        ("X9 a s m=2\n.subckt s p\nR1 p 0 1\n.ends", "line 5 gives 'm', which is no parameter of 's'"),
        ("X9 a s\n.subckt s p\nX1 p s\n.ends", "line 7 puts subcircuits into one another more than 50 deep"),
        (".subckt s p", "line 5 begins a subcircuit, but no .ends ends it"),
        (".ends", "line 5 ends a subcircuit, but none was begun"),
        (".control\nalter R1=5k\n.endc", "line 6 is the command 'alter', which changes the circuit"),
        (".control\nop\nsource other.cir\n.endc", "line 7 is the command 'source'"),
        (".subckt s p p\n.ends", "line 5 must name ports that differ"),
    ],
)
def test_what_changes_the_operating_point_is_refused(lines, saying):
    with pytest.raises(InputError) as error:
        parse_netlist(f"title\nV1 a 0 1\nR1 a b 1\nR2 b 0 1\n{lines}\n")
    assert saying in str(error.value)
    assert "Argument" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["V1 a b 1\nR1 a b 1", "I1 a b 1\nR1 a b 1"])
def test_a_netlist_without_ground_says_what_ground_is(text, tmp_path):
    (tmp_path / "net.cir").write_text(f"title\n{text}\n")
    with pytest.raises(InputError) as error:
        read_netlist(tmp_path / "net.cir")
    assert (
        str(error.value) == f"File {tmp_path / 'net.cir'}: it has no ground; call one of its nodes 0 or gnd."
    )


def test_subcircuits_do_not_multiply_without_end():
    """Twenty instances of twenty of twenty …: counted while they are put in, not afterwards."""
    levels = [f".subckt s{i} p\n" + f"X1 p s{i + 1}\n" * 20 + ".ends" for i in range(12)]
    text = "\n".join(["title", "R1 a 0 1", "X1 a s0", *levels, ".subckt s12 p", ".ends"])
    with pytest.raises(InputError, match="more than the 2000000 elements allowed"):
        parse_netlist(text)


LTSPICE = """* C:\\users\\someone\\Draftµ1.asc
V1 in 0 SINE(2 1 1k) AC 1 Rser=1k Cpar=1p
R§load in out 1k tol=1 pwr=0.25 tc=1m,2µ
R2 out 0 2kOhm temp=27
L1 out x 10µ Rser=500 Rpar=500
R3 x 0 750
C1 x 0 1µ Rpar=1500 V=50 Irms=1
.tran 1m
;tran 2m
.backanno
.end
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le"])
def test_what_ltspice_writes_is_read(encoding, tmp_path):
    """In the encodings of its versions, with resistances in series and beside."""
    (tmp_path / "net.net").write_bytes(LTSPICE.replace("\n", "\r\n").encode(encoding))
    circuit = read_netlist(tmp_path / "net.net")
    found = dict(zip(circuit.labels, np.asarray(circuit.equilibrate().x).tolist(), strict=True))
    # In kilohms 2 in series with 2 beside (.5 beside .5) + (.75 beside 1.5).
    x = 0.25 + 0.5
    total = 2 + 2 * x / (2 + x)
    assert_close(found["in"], 2.0 - 2.0 / total, relative=1e-12)
    assert_close(found["x"], (2.0 - 4.0 / total) * 0.5 / x, relative=1e-12)


def test_nodes_keep_the_names_that_spice_can_read(tmp_path):
    names = ("inlet", "n0", "Out.1", "out.1", "two words", "gnd", "ß")
    edges = [(i, i + 1) for i in range(6)]
    network = jp.FlowNetwork(jp.from_edges(edges, names=names), k=np.arange(1.0, 7.0))
    save_netlist(make_circuit(network, held={"inlet": 1.0}, ground=["ß"]), tmp_path / "net.cir")
    again = read_netlist(tmp_path / "net.cir")
    assert again.labels == ("inlet", "n1", "n2", "n3", "n4", "n5", "n6")
    assert_close(again.equilibrate().x, 1 - np.cumsum([0, *1 / np.arange(1, 7)]) / 2.45, relative=1e-12)
    assert "* n4 is two words" in (tmp_path / "net.cir").read_text()


def test_what_is_exported_is_read_to_the_last_digit(tmp_path):
    """Also what an inductor joins, and nodes between sources; a network alone cannot hold a short."""
    text = "title\nV1 a 0 .1\nV2 b a .2\nI1 0 c 7u\nR1 b c 3.3333k\nR2 c 0 1e-9\nL1 c d 1m\nR3 d 0 7MEG\n"
    (tmp_path / "first.cir").write_text(text)
    export_file(tmp_path / "first.cir", tmp_path / "second.cir", as_netlist=True)
    first, second = (read_netlist(tmp_path / f"{name}.cir") for name in ("first", "second"))
    # Ground is a node of its own where it was one.
    assert first.labels == ("b", "c", "0", "d", "a")
    assert_close(first.network.k, second.network.k, relative=1e-15)
    # Names stay, but that of ground, which here is held like others.
    place = [second.labels.index(name) for name in ("b", "c", "n2", "d", "a")]
    assert_close(second.equilibrate().x[np.array(place)], first.equilibrate().x, relative=1e-12)
    with pytest.raises(InputError, match="line 7 is an inductor, a short"):
        read_network(tmp_path / "first.cir")
    (tmp_path / "first.cir").write_text(text.replace("L1 c d", "V9 c d"))
    assert read_network(tmp_path / "first.cir").network.num_edges == 3


def test_what_is_too_large_for_dense_algebra_is_refused_by_its_file(tmp_path, capsys):
    """A chain that comes to rest at once has no spectrum to inspect: its size is counted before."""
    lines = [f"R{i} n{i} n{i + 1} 1k" for i in range(4200)]
    (tmp_path / "net.cir").write_text("\n".join(["title", "V1 n0 0 1", *lines, "R n4200 0 1k"]))
    state = read_netlist(tmp_path / "net.cir").equilibrate()
    assert_close(state.x[1], 4200 / 4201, relative=1e-14)
    arguments = ["inspect", str(tmp_path / "net.cir"), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert "its network must have at most 4000 coordinates, but it has 4202" in message
    assert "Argument" not in message
    assert not (tmp_path / "out").exists()
    export_file(tmp_path / "net.cir", tmp_path / "again.cir", as_netlist=True)
    assert read_netlist(tmp_path / "again.cir").network.num_nodes == 4202
