"""Ubiquitin and its elastic network against textbook formulas; structure files that are refused."""

import gzip
import os

import jax
import numpy as np
import pytest
from helpers import assert_close, assert_refused, ulps

import jaxphys as jp
from jaxphys import proteins
from jaxphys.data import ubiquitin

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
        (["data_1UBI", "ATOM 1 N N . MET A 1 1"], {}, "mmCIF"),
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
    monkeypatch.setattr(proteins, "_MOST_RESIDUES", 3)
    assert len(read(tmp_path, *map(atom, range(3))).residues) == 3
    with pytest.raises(jp.InputError, match="more than 3 Cα atoms; take one chain"):
        read(tmp_path, *map(atom, range(4)))
    path = tmp_path / "large.pdb"
    path.touch()
    # A hole: it takes no room on the disk.
    os.truncate(path, 64 * 2**20 + 1)
    with pytest.raises(jp.InputError, match="at most 64 MB"):
        jp.read_structure(path)
