"""Proteins as elastic networks: Cα atoms from a structure file, springs between those that are near."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxphys._checks import InputError, check_kind, require, to_array
from jaxphys.networks import SpringNetwork
from jaxphys.topology import from_edges, rigid_motions

STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
"""Suffixes of structure files."""
# Files from strangers are bounded: the largest structures of the archive in this format have 99 999 atoms.
_MOST_BYTES = 64 * 2**20
_MOST_RESIDUES = 5000
# Fields of an ATOM record: columns of the format's description, counted from 1, both included.
_COORDINATES = {"x": (31, 38), "y": (39, 46), "z": (47, 54)}
_OCCUPANCY, _B_FACTOR, _MODEL = (55, 60), (61, 66), (11, 14)


class Structure(NamedTuple):
    """The Cα atoms of a protein, one for each residue, in the order of the file.

    - `positions`: `(N, 3)` in Å.
    - `residues`: N labels, name, number with insertion code, and chain: "LYS 48 A".
    - `chains`: N letters.
    - `b_factors`: `(N,)` in Å²; `B = 8π²/3 ⟨Δr²⟩` for an atom that fluctuates by `⟨Δr²⟩` about its place.
    """

    positions: Float[np.ndarray, "N 3"]
    residues: list[str]
    chains: list[str]
    b_factors: Float[np.ndarray, " N"]


class _Atom(NamedTuple):
    """One Cα as it stands in the file."""

    line: int
    location: str
    occupancy: float
    label: str
    numbers: list[float]


def read_structure(path: Path | str, *, chain: str | None = None, model: int = 1) -> Structure:
    """Read the Cα atoms of one model from a structure in the legacy PDB format (fixed columns, version 3.3).

    Counted are ATOM records, and HETATM records of selenomethionine (MSE), which stands for methionine in
    many crystals. Of a residue's alternate locations the one with the highest occupancy is taken,
    of equals the first letter.

    **Arguments**

    - `path`: a regular file of at most 64 MB, not compressed.
    - `chain`: the letter of one chain; None for all.
    - `model`: the serial number of a MODEL; a file without MODEL records is model 1.

    Raises `InputError` that names the file and, for malformed records, the line; also where no Cα atom, or
    more than 5000, are left.

    >>> from importlib.resources import as_file, files
    >>> import jaxphys as jp
    >>> with as_file(files("jaxphys.data") / "ubiquitin.pdb") as path:
    ...     structure = jp.read_structure(path, chain="A")
    >>> structure.positions.shape, structure.residues[47]
    ((76, 3), 'LYS 48 A')
    """
    require(chain is None or len(chain) == 1, "chain", "be one letter or None", f"it is {chain!r}")
    check_kind("path", path, str | Path, "the path of a file")
    require(model >= 0, "model", "be a serial number", f"it is {model}")
    path = Path(path)
    residues: dict[tuple[str, str], _Atom] = {}
    chains_found, models_found, current = set(), set(), 1
    for line, record in enumerate(_records(path), start=1):
        kind = record[:6].rstrip()
        if kind == "MODEL":
            current = int(_number(path, line, record, "the serial number of a model", _MODEL, whole=True))
        elif kind == "ENDMDL":
            # Until another MODEL opens, atoms belong to none.
            current = -1
        elif record[12:16] == " CA " and (kind == "ATOM" or (kind == "HETATM" and record[17:20] == "MSE")):
            models_found.add(current)
            if current != model:
                continue
            chains_found.add(record[21])
            if chain in (None, record[21]):
                _add(residues, _atom(path, line, record), (record[21], record[22:27]), path)
    if not residues:
        raise InputError(f"File {path} {_nothing_found(chain, model, chains_found, models_found)}.")
    numbers = np.array([atom.numbers for atom in residues.values()])
    return Structure(
        numbers[:, :3],
        [atom.label for atom in residues.values()],
        [letter for letter, _ in residues],
        numbers[:, 3],
    )


def elastic_network(positions: Any, *, cutoff: float = 15.0, exponent: float = 0.0) -> SpringNetwork:
    """The anisotropic network model of a protein: unstretched springs between Cα atoms that are near.

    `E = ½ Σ_{i<j} k_ij (n_ij·(u_i - u_j))²` over all pairs with `r_ij ≤ cutoff`, with `k_ij = r_ij^-exponent`
    and `n_ij` the unit vector from one to the other at the given positions. Equal springs (exponent 0) within
    a cutoff are the model of Atilgan et al., Biophys. J. 80 (2001) 505; `cutoff=float("inf"), exponent=2`
    is the parameter-free one of Yang, Song and Jernigan, PNAS 106 (2009) 12347. At temperature T node i
    fluctuates by `⟨Δr_i²⟩ = k_B T tr G_ii`, with the 3×3 diagonal blocks of `greens_function` where rigid
    motions are projected out.

    **Arguments**

    - `positions`: `(N, 3)` in Å, such as `read_structure(path).positions`; N nodes, in that order.
    - `cutoff`: the largest distance of two nodes that a spring joins, in Å; infinite for all pairs.
    - `exponent`: how spring constants fall with distance, in units of the spring constant at 1 Å.

    Raises `InputError` on positions that coincide or are not finite, and on a cutoff that leaves the network
    in pieces or floppy.

    >>> import jaxphys as jp
    >>> from jaxphys.data import ubiquitin
    >>> network = jp.elastic_network(ubiquitin().positions)
    >>> network.num_nodes, network.topology.num_edges
    (76, 1428)
    """
    require(cutoff > 0, "cutoff", "be positive", f"it is {cutoff}")
    require(
        math.isfinite(exponent) and exponent >= 0, "exponent", "be finite and at least 0", f"it is {exponent}"
    )
    places = to_array("positions", positions, float)
    require(
        places.ndim == 2 and places.shape[1] == 3 and len(places) >= 2,
        "positions",
        "have shape (N, 3) with at least two nodes",
        f"its shape is {places.shape}",
    )
    require(np.isfinite(places).all(), "positions", "be finite", "it holds NaN or infinity")
    if math.isinf(cutoff):
        edges = np.stack(np.triu_indices(len(places), k=1), axis=1)
    else:
        from scipy.spatial import KDTree

        edges = KDTree(places).query_pairs(cutoff, output_type="ndarray")
        edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    bonds = places[edges[:, 0]] - places[edges[:, 1]]
    lengths = np.linalg.norm(bonds, axis=1)
    for i, j in edges[lengths == 0][:1]:
        require(False, "positions", "place every node apart", f"nodes {i} and {j} coincide")
    too_short = "raise it, 10 to 15 Å are usual for proteins, or read one chain"
    require(len(edges), "cutoff", "join nodes", f"no two are within {cutoff:g} Å; {too_short}")
    topology = from_edges(edges, num_nodes=len(places), positions=places)
    pieces = int(topology.components().max()) + 1
    require(
        pieces == 1, "cutoff", "join all nodes", f"{cutoff:g} Å leave them in {pieces} pieces; {too_short}"
    )
    floppy = _num_floppy_modes(edges, bonds / lengths[:, None], places)
    if floppy and len(edges) == len(places) * (len(places) - 1) // 2:
        require(False, "positions", "span three dimensions", "they lie in a plane or on a line")
    require(
        floppy == 0,
        "cutoff",
        "make the network rigid",
        f"{cutoff:g} Å leave {floppy} floppy mode(s); {too_short}",
    )
    k = lengths**-exponent
    tiny = float(np.finfo(jax.dtypes.canonicalize_dtype(float)).tiny)
    require(
        tiny < k.min() and k.max() < 1 / tiny,
        "exponent",
        "keep spring constants within the range of floating point numbers",
        f"at {exponent:g} they run from {k.min():.3g} to {k.max():.3g}",
    )
    return SpringNetwork(topology, k)


def _records(path: Path) -> Iterator[str]:
    """One by one the lines of a structure file; Latin-1, as remarks in old files are not always ASCII."""
    try:
        # Opening a pipe would wait for whoever writes to it.
        content = None
        if path.is_file():
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"File {path} cannot be read: {error.strerror}.") from None
    if content is None:
        raise InputError(f"File {path} must be a regular file, but there is none of that name.")
    if len(content) > _MOST_BYTES:
        raise InputError(f"File {path} must have at most {_MOST_BYTES // 2**20} MB, but it is larger.")
    if content.startswith(b"\x1f\x8b"):
        raise InputError(f"File {path} is compressed; unpack it with gunzip first.")
    if content.lstrip().startswith(b"data_"):
        raise InputError(f"File {path} is in the mmCIF format; take the one in the legacy PDB format.")
    for record in io.BytesIO(content):
        # Short lines are filled, so that every column can be looked at.
        yield record.decode("latin-1").rstrip().ljust(80)


def _number(
    path: Path, line: int, record: str, what: str, columns: tuple[int, int], *, whole: bool = False
) -> float:
    """The number in a fixed field, written in digits with sign, point and exponent; `float` takes more."""
    text = record[columns[0] - 1 : columns[1]].strip()
    try:
        if not set(text) <= set("0123456789-+" if whole else "0123456789-+.eE"):
            raise ValueError
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        raise InputError(
            f"File {path}: line {line} must have {what} in columns {columns[0]} to {columns[1]}, "
            f"but there is {text!r}."
        ) from None
    return number


def _atom(path: Path, line: int, record: str) -> _Atom:
    label = " ".join(f"{record[17:20]} {record[22:27]} {record[21]}".split())
    numbers = [_number(path, line, record, f"the coordinate {c}", at) for c, at in _COORDINATES.items()]
    occupancy = _number(path, line, record, "the occupancy", _OCCUPANCY)
    numbers.append(_number(path, line, record, "the B-factor", _B_FACTOR))
    return _Atom(line, record[16], occupancy, label, numbers)


def _add(residues: dict[tuple[str, str], _Atom], atom: _Atom, key: tuple[str, str], path: Path) -> None:
    """Enter a Cα, or let it compete with another location of the same residue."""
    other = residues.get(key)
    if other is None:
        if len(residues) == _MOST_RESIDUES:
            raise InputError(
                f"File {path} has more than {_MOST_RESIDUES} Cα atoms; take one chain with `chain`."
            )
        residues[key] = atom
        return
    if atom.location == other.location:
        raise InputError(
            f"File {path}: line {atom.line} must be another residue or another alternate location than line "
            f"{other.line}, but both are {atom.label!r}."
        )
    if (-atom.occupancy, atom.location) < (-other.occupancy, other.location):
        residues[key] = atom


def _nothing_found(chain: str | None, model: int, chains: set[str], models: set[int]) -> str:
    """Why no Cα is left, and what there is instead."""
    if chains:
        found = ", ".join(map(repr, sorted(chains)))
        return f"has no Cα atoms in chain {chain!r} of model {model}, only in {found}"
    if models - {-1}:
        found = ", ".join(map(str, sorted(models - {-1})[:10]))
        return f"has no Cα atoms in model {model}, but in {found}"
    return "has no Cα atoms (ATOM records with the name CA in columns 13 to 16); give a protein in PDB format"


def _num_floppy_modes(edges: np.ndarray, directions: np.ndarray, positions: np.ndarray) -> int:
    """Zero modes beyond rigid motions, by the signs of the pivots of `BᵀB - ε` (Sylvester's law of inertia).

    A sparse factorisation does where the rank of B would take `M × 3N` numbers.
    """
    num_edges, size = len(edges), positions.size
    rows = np.repeat(np.arange(num_edges), 3)
    columns = 3 * edges[:, :, None] + np.arange(3)
    entries = np.concatenate([directions.ravel(), -directions.ravel()])
    places = (np.tile(rows, 2), np.concatenate([columns[:, 0].ravel(), columns[:, 1].ravel()]))
    import scipy.sparse
    from scipy.sparse.linalg import splu

    compatibility = scipy.sparse.csc_array((entries, places), shape=(num_edges, size))
    hessian = compatibility.T @ compatibility
    # Far above rounding, far below the softest mode of thousands of nodes.
    shift = 1e-10 * hessian.diagonal().max()
    factors = splu(
        (hessian - shift * scipy.sparse.eye_array(size)).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    zero_modes = int(np.sum(factors.U.diagonal() < 0))
    return zero_modes - len(rigid_motions(positions, rotations=True))
