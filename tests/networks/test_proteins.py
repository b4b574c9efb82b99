"""Ubiquitin and its elastic network against textbook formulas; structure files that are refused."""

import gzip
import os
import sys
from importlib.resources import files

import gemmi
import jax
import numpy as np
import pytest
from helpers import assert_close, assert_identical, assert_refused, ulps
from sample_files import mutations

import jaxphys as jp
from jaxphys.data import ubiquitin
from jaxphys.networks import elastic

# The same in either precision.
pytestmark = pytest.mark.float64

INFINITY = float("inf")
# Corners of a cube of 4 Å and its middle.
CUBE = 4.0 * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)] + [[0.5, 0.5, 0.5]])


def textbook_hessian(positions, cutoff, exponent):
    """Atilgan et al. (2001), eqs. 5 to 8: the super-element of two nodes is -k (r rᵀ) / r²."""
    num_nodes = len(positions)
    hessian = np.zeros((3 * num_nodes, 3 * num_nodes))
    for i in range(num_nodes):
        for j in range(num_nodes):
            apart = positions[j] - positions[i]
            distance = np.sqrt(apart @ apart)
            if i != j and distance <= cutoff:
                element = -(distance**-exponent) * np.outer(apart, apart) / distance**2
                hessian[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = element
                hessian[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] -= element
    return hessian


def fluctuations(hessian):
    """Mean-square fluctuation of every node at unit temperature, by the pseudo-inverse."""
    inverse = np.linalg.pinv(hessian, rcond=1e-10, hermitian=True)
    return np.trace(inverse.reshape(len(inverse) // 3, 3, -1, 3).diagonal(axis1=0, axis2=2))


def test_ubiquitin_is_a_chain_of_76():
    structure = ubiquitin()
    assert structure.positions.shape == (76, 3)
    assert structure.chains == ["A"] * 76
    sequence = [label.split()[0] for label in structure.residues]
    # SEQRES of the entry.
    assert " ".join(sequence[:13]) == "MET GLN ILE PHE VAL LYS THR LEU THR GLY LYS THR ILE"
    assert [int(label.split()[1]) for label in structure.residues] == list(range(1, 77))
    # Virtual bonds of trans peptides are 3.8 Å long; at 1.8 Å resolution that of GLN 31 came out as 3.69 Å.
    steps = np.linalg.norm(np.diff(structure.positions, axis=0), axis=1)
    assert np.abs(steps - 3.8).max() < 0.12
    assert np.sum(np.abs(steps - 3.8) < 0.1) >= 74
    assert abs(steps.mean() - 3.8) < 0.02
    assert structure.b_factors.min() > 0
    assert structure.b_factors.max() == 40


@pytest.mark.parametrize(("cutoff", "exponent"), [(15.0, 0.0), (10.0, 0.0), (15.0, 2.0), (INFINITY, 2.0)])
def test_hessian_is_the_textbook_one(cutoff, exponent):
    positions = ubiquitin().positions
    network = jp.elastic_network(positions, cutoff=cutoff, exponent=exponent)
    expected = textbook_hessian(positions, cutoff, exponent)
    assert_close(network.hessian(), expected, relative=ulps(200))
    if jax.config.jax_enable_x64:
        assert np.abs(np.asarray(network.hessian()) - expected).max() <= 1e-12


@pytest.mark.float64
@pytest.mark.parametrize(("cutoff", "exponent"), [(15.0, 0.0), (INFINITY, 2.0)])
def test_six_zero_modes(cutoff, exponent):
    network = jp.elastic_network(ubiquitin().positions, cutoff=cutoff, exponent=exponent)
    eigenvalues = np.linalg.eigvalsh(np.asarray(network.hessian()))
    assert np.abs(eigenvalues[:6]).max() < 1e-12 * eigenvalues[-1]
    assert eigenvalues[6] > 1e-4 * eigenvalues[-1]


@pytest.mark.float64
@pytest.mark.parametrize(
    ("cutoff", "exponent", "whole", "core"), [(15.0, 0.0, 0.489, 0.573), (INFINITY, 2.0, 0.675, 0.516)]
)
def test_fluctuations_follow_b_factors(cutoff, exponent, whole, core):
    structure = ubiquitin()
    network = jp.elastic_network(structure.positions, cutoff=cutoff, exponent=exponent)
    mobility = fluctuations(np.asarray(network.hessian()))
    response = jp.greens_function(network, jp.Boundary(network, free_modes="project"))
    assert_close(np.asarray(response).diagonal().reshape(-1, 3).sum(axis=1), mobility, relative=1e-9)
    # Measured; with and without the tail, whose B-factors end at 40 Å² where refinement stopped them.
    assert np.corrcoef(mobility, structure.b_factors)[0, 1] == pytest.approx(whole, abs=0.01)
    assert np.corrcoef(mobility[:72], structure.b_factors[:72])[0, 1] == pytest.approx(core, abs=0.01)
    # The tail moves most, then the loop between the first two strands.
    order = np.argsort(-mobility) + 1
    assert order[:4].tolist() == [76, 75, 74, 73]
    assert set(order[4:10].tolist()) >= {8, 9, 10}


@pytest.mark.float64
@pytest.mark.parametrize("cutoff", [5.0, 6.0, 7.0, 9.0, 10.0])
def test_floppy_modes_are_counted(cutoff):
    positions = ubiquitin().positions
    first, second = np.triu_indices(76, 1)
    near = np.linalg.norm(positions[first] - positions[second], axis=1) <= cutoff
    topology = jp.from_edges(np.stack([first[near], second[near]], axis=1), positions=positions)
    floppy = topology.num_floppy_modes()
    assert (floppy == 0) == (cutoff == 10)
    if floppy:
        saying = f"{cutoff:g} Å leave {floppy} floppy mode.* raise it"
        assert_refused("cutoff", jp.elastic_network, positions, cutoff=cutoff, saying=saying)
    else:
        assert jp.elastic_network(positions, cutoff=cutoff).num_edges == near.sum()


@pytest.mark.parametrize(
    ("argument", "positions", "arguments", "saying"),
    [
        ("cutoff", CUBE, {"cutoff": 0.0}, "positive"),
        ("cutoff", CUBE, {"cutoff": float("nan")}, "positive"),
        ("cutoff", CUBE, {"cutoff": 3.0}, "no two are within 3 Å; raise it"),
        ("cutoff", [*CUBE, [50.0, 0.0, 0.0]], {}, "15 Å leave them in 2 pieces; raise it"),
        ("cutoff", CUBE, {"cutoff": 3.5}, "13 floppy mode"),
        ("exponent", CUBE, {"exponent": -1.0}, "at least 0"),
        ("exponent", CUBE, {"exponent": INFINITY}, "finite"),
        ("exponent", CUBE, {"exponent": 1000.0}, "at 1000"),
        ("positions", CUBE[:, :2], {}, r"\(N, 3\)"),
        ("positions", CUBE[:1], {}, r"\(1, 3\)"),
        ("positions", CUBE * np.nan, {}, "finite"),
        ("positions", [*CUBE, CUBE[2]], {}, "nodes 2 and 9 coincide"),
        ("positions", CUBE[:4], {"cutoff": INFINITY}, "in a plane or on a line"),
    ],
)
def test_elastic_networks_that_are_refused(argument, positions, arguments, saying):
    assert_refused(argument, jp.elastic_network, positions, saying=saying, **arguments)


def atom(number=1, x="   1.000", **fields):
    """One Cα record, columns by the description of the format."""
    fields = {"record": "ATOM", "name": " CA ", "location": " ", "residue": "GLY", "chain": "A"} | fields
    fields = {"code": " ", "occupancy": "  1.00", "b_factor": " 12.50"} | fields
    return (
        f"{fields['record']:<6}{number:5d} {fields['name']}{fields['location']}{fields['residue']} "
        f"{fields['chain']}{number:4d}{fields['code']}   {x}   2.000  -3.000"
        f"{fields['occupancy']}{fields['b_factor']}           C"
    )


def read(folder, *lines, **arguments):
    path = folder / "structure.pdb"
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    return jp.read_structure(path, **arguments)


def test_columns_are_read_by_place(tmp_path):
    # Full fields have no blanks between them.
    full = "ATOM  99999  CA BLYS B9999A   -123.456-234.567-345.678  0.50123.45           C"
    structure = read(tmp_path, "REMARK   1 Å", full)
    assert structure.positions.tolist() == [[-123.456, -234.567, -345.678]]
    assert structure.residues == ["LYS 9999A B"]
    assert structure.chains == ["B"]
    assert structure.b_factors.tolist() == [123.45]


def test_which_atoms_count(tmp_path):
    lines = [
        atom(1),
        atom(2, name=" CB "),
        # Calcium, not Cα: names of two-letter elements begin one column earlier.
        atom(3, name="CA  "),
        atom(3, name="CA  ", record="HETATM", residue=" CA"),
        atom(4, record="HETATM", residue="MSE"),
        atom(5, record="HETATM", residue="LIG"),
        "TER",
        atom(1, chain="B"),
        atom(1, chain="B", code="A"),
        "END",
    ]
    assert read(tmp_path, *lines).residues == ["GLY 1 A", "MSE 4 A", "GLY 1 B", "GLY 1A B"]
    assert read(tmp_path, *(line + "\r" for line in lines), chain="B").residues == ["GLY 1 B", "GLY 1A B"]


UBIQUITIN = (files("jaxphys.data") / "ubiquitin.pdb").read_text(encoding="ascii")


def with_modified(*numbers, head=""):
    """Ubiquitin with these residues as modified ones, as heteroatoms."""
    lines = []
    for line in UBIQUITIN.splitlines():
        if line.startswith("ATOM") and int(line[22:26]) in numbers:
            line = "HETATM" + line[6:17] + "CSO" + line[20:]
        lines.append(line)
    return [*head.splitlines(), *lines]


SEQRES = "SEQRES   1 A   76  MET GLN CSO GLY HIS ALA LEU VAL SER THR PRO ASP GLU\n"
MODRES = "MODRES 1UBI CSO A {:4d}  CYS  S-HYDROXYCYSTEINE\n"


@pytest.mark.parametrize("numbers", [(), (1,), (30,), (76,), (1, 2), (40, 41, 42), (75, 76)])
@pytest.mark.parametrize("told", ["nothing", "SEQRES", "MODRES"])
def test_modified_residues_are_residues_of_their_chain(numbers, told, tmp_path):
    head = {"SEQRES": SEQRES, "MODRES": "".join(map(MODRES.format, numbers))}.get(told, "")
    whole = ubiquitin()
    structure = read(tmp_path, *with_modified(*numbers, head=head))
    assert structure.positions.tolist() == whole.positions.tolist()
    assert structure.b_factors.tolist() == whole.b_factors.tolist()
    assert [structure.residues[i - 1] for i in numbers] == [f"CSO {i} A" for i in numbers]


def test_what_is_not_in_the_chain_is_not_counted(tmp_path):
    """A free amino acid, a ligand far away, calcium in Cα's columns, what has a residue's number."""
    ligand = atom(301, record="HETATM", residue="GLU", x="  40.000")
    drug = atom(302, record="HETATM", residue="LIG", x="  90.000")
    calcium = atom(303, record="HETATM", residue=" CA")[:76] + "CA"
    bound = atom(30, record="HETATM", residue="LIG", x="  40.000")
    for head in ("", SEQRES):
        after = [*with_modified(30, head=head), ligand, drug, calcium]
        assert len(read(tmp_path, *after).residues) == 76
        lines = with_modified(30, head=head)
        end = next(i for i, line in enumerate(lines) if line.startswith("TER"))
        before = [*lines[:end], drug, calcium, *lines[end:]]
        assert len(read(tmp_path, *before).residues) == 76
        lines = with_modified(head=head)
        assert len(read(tmp_path, *lines[:end], bound, *lines[end:]).residues) == 76


def as_mmcif(lines, **changes):
    """A PDB file in mmCIF, written by gemmi; its columns changed by `changes`."""
    structure = gemmi.read_pdb_string("\n".join(lines))
    structure.setup_entities()
    structure.assign_label_seq_id()
    block = structure.make_mmcif_document().sole_block()
    table = block.get_mmcif_category("_atom_site.")
    for name, change in changes.items():
        table[name] = [change(i, value) for i, value in enumerate(table[name])]
    block.set_mmcif_category("_atom_site.", table)
    return block.as_string()


def read_cif(folder, text, name="structure.cif", **arguments):
    (folder / name).write_text(text)
    return jp.read_structure(folder / name, **arguments)


@pytest.mark.parametrize("name", ["structure.cif", "structure.mmcif", "structure.txt"])
@pytest.mark.parametrize("numbers", [(), (30, 76)])
def test_mmcif_is_read_as_the_legacy_format(name, numbers, tmp_path):
    lines = with_modified(*numbers)
    expected, structure = read(tmp_path, *lines), read_cif(tmp_path, as_mmcif(lines), name)
    assert structure.residues == expected.residues
    assert structure.chains == expected.chains
    assert structure.positions.tolist() == expected.positions.tolist()
    assert structure.b_factors.tolist() == expected.b_factors.tolist()
    assert_identical(
        np.asarray(jp.elastic_network(structure.positions).hessian()),
        np.asarray(jp.elastic_network(expected.positions).hessian()),
    )


def test_alternate_locations_models_and_insertions_of_mmcif(tmp_path):
    lines = [
        "MODEL        1",
        atom(1, location="A", occupancy="  0.30"),
        atom(1, location="B", occupancy="  0.70", x="   5.000"),
        atom(1, code="A", x="   9.000"),
        atom(1, chain="B", x="  13.000"),
        "ENDMDL",
        "MODEL        2",
        atom(1, x="   7.000"),
        "ENDMDL",
    ]
    text = as_mmcif(lines)
    for arguments in ({}, {"chain": "B"}, {"model": 2}):
        expected, found = read(tmp_path, *lines, **arguments), read_cif(tmp_path, text, **arguments)
        assert found.residues == expected.residues
        assert found.positions.tolist() == expected.positions.tolist()
    # Longer names of chains, as large structures have them.
    longer = as_mmcif(lines, auth_asym_id=lambda i, name: name * 3)
    assert read_cif(tmp_path, longer, chain="BBB").residues == ["GLY 1 BBB"]
    with pytest.raises(jp.InputError, match="in chain 'B' of model 1, only in 'AAA', 'BBB'"):
        read_cif(tmp_path, longer, chain="B")


def test_what_mmcif_leaves_open(tmp_path):
    lines = with_modified(30)
    told = as_mmcif(lines, label_seq_id=lambda i, _: str(i + 1))
    bare = as_mmcif(lines, label_seq_id=lambda i, _: None)
    assert len(read_cif(tmp_path, told).residues) == len(read_cif(tmp_path, bare).residues) == 76
    # Where the file tells its sequence, what is no part of it is none.
    without = as_mmcif(lines, label_seq_id=lambda i, _: None if i == 29 else str(i + 1))
    assert len(read_cif(tmp_path, without).residues) == 75
    open_values = as_mmcif(lines, B_iso_or_equiv=lambda i, _: None, occupancy=lambda i, _: False)
    found = read_cif(tmp_path, open_values)
    assert np.isnan(found.b_factors).all()
    assert found.positions.tolist() == ubiquitin().positions.tolist()
    ions = as_mmcif(lines, type_symbol=lambda i, symbol: "Ca" if i < 3 else symbol)
    assert len(read_cif(tmp_path, ions).residues) == 73


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda text: text.replace("26.381", "nan"), "atom 2 must have the coordinate x, a number, .* 'nan'"),
        (lambda text: text.replace("26.381", "."), "atom 2 must have the coordinate x, a number, .* none"),
        (lambda text: text.replace("26.381", "1_0"), "'1_0'"),
        (lambda text: text + text.replace("data_", "data_b"), "one block .* but it has 2"),
        (lambda text: text[: len(text) // 2], "is no mmCIF: .*"),
        (lambda text: "data_x\nloop_\n_atom_site.id\n1\n", "has 0"),
        (lambda text: "", "is no mmCIF|has 0"),
        (lambda text: text.replace(" CA ", " CB "), "has no Cα atoms"),
        (lambda text: "data_x\n" + "\x1b[2J" * 9, "is no mmCIF"),
    ],
)
def test_mmcif_that_is_refused(change, saying, tmp_path):
    with pytest.raises(jp.InputError, match=f"^File [^ ]*structure.cif:? .*{saying}") as refused:
        read_cif(tmp_path, change(as_mmcif(UBIQUITIN.splitlines(), id=lambda i, _: str(i + 2))))
    assert str(refused.value).isprintable()


def test_mmcif_needs_gemmi(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(jp.InputError, match=r"structure\.cif .* pip install 'jaxphys\[proteins\]'\.$"):
        read_cif(tmp_path, "data_x\n")


def test_only_input_errors_come_from_broken_mmcif(tmp_path):
    content = as_mmcif(with_modified(5)[:40]).encode()
    copies = mutations(content, np.random.default_rng(16))
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        (tmp_path / "structure.cif").write_bytes(next(copies))
        try:
            structure = jp.read_structure(tmp_path / "structure.cif")
        except jp.InputError as error:
            outcomes["refused"] += str(error).isprintable()
        else:
            assert np.isfinite(structure.positions).all()
            outcomes["read"] += 1
    assert min(outcomes.values()) > 0, outcomes
    assert sum(outcomes.values()) == 300


@pytest.mark.parametrize(
    ("occupancies", "taken"),
    [((0.5, 0.5), 0), ((0.3, 0.7), 1), ((0.7, 0.3), 0), ((0.2, 0.4, 0.4), 1), ((0.2, 0.3, 0.5), 2)],
)
@pytest.mark.parametrize("turned", [False, True])
def test_alternate_locations(tmp_path, occupancies, taken, turned):
    lines = [
        atom(1, x=f"{i:8.3f}", location="ABC"[i], occupancy=f"{occupancy:6.2f}")
        for i, occupancy in enumerate(occupancies)
    ]
    structure = read(tmp_path, *(reversed(lines) if turned else lines), atom(2))
    assert structure.positions[:, 0].tolist() == [taken, 1.0]


def test_one_model(tmp_path):
    lines = ["MODEL        1", atom(1), "ENDMDL", "MODEL        2", atom(1, x="   9.000"), "ENDMDL", atom(2)]
    assert read(tmp_path, *lines).positions[:, 0].tolist() == [1.0]
    assert read(tmp_path, *lines, model=2).positions[:, 0].tolist() == [9.0]


@pytest.mark.parametrize(
    ("lines", "arguments", "saying"),
    [
        ([], {}, "has no Cα atoms .* give a protein in PDB format"),
        ([atom(name=" CB ")], {}, "has no Cα atoms"),
        ([atom()], {"chain": "B"}, "in chain 'B' of model 1, only in 'A'"),
        ([atom()], {"model": 3}, "in model 3, but in 1"),
        (["MODEL        7", atom()], {}, "in model 1, but in 7"),
        (["MODEL      one", atom()], {}, "line 1 must have the serial number .* columns 11 to 14, .* 'one'"),
        (
            [atom(), atom(2, x="     nan")],
            {},
            "line 2 must have the coordinate x in columns 31 to 38, .* 'nan'",
        ),
        ([atom(x="     inf")], {}, "line 1 .* 'inf'"),
        ([atom(x="   1e999")], {}, "line 1 .* '1e999'"),
        ([atom(x="  1_0.00")], {}, "line 1 .* '1_0.00'"),
        ([atom(x="   1,000")], {}, "line 1 .* '1,000'"),
        ([atom(x="   1.0\u00b200")], {}, "line 1"),
        ([atom(x="   1.000 ")], {}, "line 1 must have"),
        ([atom(occupancy="      ")], {}, "the occupancy in columns 55 to 60, but there is ''"),
        ([atom(b_factor=" *****")], {}, "the B-factor in columns 61 to 66"),
        ([atom()[:50]], {}, "line 1 must have the occupancy"),
        ([atom()[:46]], {}, "line 1 must have the coordinate z"),
        ([atom()[:16]], {}, "line 1 must have the coordinate x"),
        ([atom(), atom()], {}, "line 2 must be another residue .* than line 1, but both are 'GLY 1 A'"),
        (["data_1UBI", "ATOM 1 N N . MET A 1 1"], {}, "line 2 is no mmCIF: parse error"),
        (["# by hand", "", "data_1UBI", "_cell.length_a 1"], {}, "one block with a table of atoms .* has 0"),
    ],
)
def test_files_that_are_refused(tmp_path, lines, arguments, saying):
    with pytest.raises(jp.InputError, match=f"^File [^ ]*structure.pdb:? .*{saying}") as refused:
        read(tmp_path, *lines, **arguments)
    assert str(refused.value).count("\n") == 0


def test_arguments_that_are_refused(tmp_path):
    for chain in ("", "AB"):
        with pytest.raises(jp.InputError, match="`chain` must be one letter"):
            read(tmp_path, atom(), chain=chain)
    with pytest.raises(jp.InputError, match="`model` must be a serial number"):
        read(tmp_path, atom(), model=-1)


def test_files_that_are_no_text_files(tmp_path, monkeypatch):
    with pytest.raises(jp.InputError, match="must be a regular file"):
        jp.read_structure(tmp_path)
    with pytest.raises(jp.InputError, match="must be a regular file"):
        jp.read_structure(tmp_path / "nowhere.pdb")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(jp.InputError, match="must be a regular file"):
        jp.read_structure(pipe)
    packed = tmp_path / "packed.pdb.gz"
    packed.write_bytes(gzip.compress(atom().encode()))
    with pytest.raises(jp.InputError, match="compressed; unpack"):
        jp.read_structure(packed)


def test_files_that_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(elastic, "MOST_RESIDUES", 3)
    assert len(read(tmp_path, *map(atom, range(3))).residues) == 3
    with pytest.raises(jp.InputError, match="more than 3 Cα atoms; take one chain"):
        read(tmp_path, *map(atom, range(4)))
    path = tmp_path / "large.pdb"
    path.touch()
    # A hole: it takes no room on the disk.
    os.truncate(path, 64 * 2**20 + 1)
    with pytest.raises(jp.InputError, match="at most 64 MB"):
        jp.read_structure(path)
