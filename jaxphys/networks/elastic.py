"""Proteins as elastic networks: Cα atoms from a structure file, springs between those that are near."""

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxphys._checks import InputError, check_kind, refuse, require, to_array
from jaxphys.networks.physics import SpringNetwork
from jaxphys.networks.topology import from_edges, rigid_motions

STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
"""Suffixes of structure files."""
# Files from strangers are bounded: the largest structures of the archive in this format have 99 999 atoms.
_MOST_BYTES = 64 * 2**20
MOST_RESIDUES = 5000
# Fields of an ATOM record: columns of the format's description, counted from 1, both included.
_COORDINATES = {"x": (31, 38), "y": (39, 46), "z": (47, 54)}
_OCCUPANCY, _B_FACTOR, _MODEL = (55, 60), (61, 66), (11, 14)
# Residues of the genetic code: as HETATM they are ligands, unless they stand in a chain.
_STANDARD = {
    *("ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE"),
    *("LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL"),
}
# Distances in Å of Cα atoms that a peptide bond joins: 2.9 where it is cis, else 3.8.
_STEP = (2.6, 4.2)


class Structure(NamedTuple):
    """The Cα atoms of a protein, one for each residue, in the order of the file.

    - `positions`: `(N, 3)` in Å.
    - `residues`: N labels, name, number with insertion code, and chain: "LYS 48 A".
    - `chains`: N letters, or names where the file is mmCIF.
    - `b_factors`: `(N,)` in Å²; `B = 8π²/3 ⟨Δr²⟩` for an atom that fluctuates by `⟨Δr²⟩` about its place; NaN
      where an mmCIF file gives none.
    """

    positions: Float[np.ndarray, "N 3"]
    residues: list[str]
    chains: list[str]
    b_factors: Float[np.ndarray, " N"]


class _Atom(NamedTuple):
    """One Cα as it stands in the file.

    `in_chain` tells whether its residue is one of a chain; None where the file does not say.
    """

    place: str
    chain: str
    number: str
    name: str
    location: str
    occupancy: float
    numbers: list[float]
    in_chain: bool | None

    @property
    def label(self) -> str:
        return " ".join(f"{self.name} {self.number} {self.chain}".split())


def read_structure(path: Path | str, *, chain: str | None = None, model: int = 1) -> Structure:
    """Read the Cα atoms of one model of a protein: legacy PDB format (fixed columns, version 3.3) or mmCIF.

    mmCIF is what begins with `data_` or is called `.cif` or `.mmcif`; it needs gemmi (the extra `proteins`),
    and chains and residues go by the authors' names (`auth_asym_id`, `auth_seq_id`), as in the PDB format.
    Of a residue's alternate locations the one with the highest occupancy is taken, of equals the first
    letter.

    Counted is every residue of a chain. Modified ones (HETATM) are such if they are selenomethionine (MSE),
    if MODRES or SEQRES (mmCIF: `label_seq_id`) says so, or, where the file has no sequence, if they stand
    between residues of their chain or a peptide bond away from one. Ligands, water and ions (calcium is
    called CA too) are not, nor is what follows the end (TER) of its chain.

    **Arguments**

    - `path`: a regular file of at most 64 MB, not compressed.
    - `chain`: the letter of one chain (mmCIF: its name); None for all.
    - `model`: the serial number of a model; a file without MODEL records is model 1.

    Raises `InputError` that names the file and, for malformed records, the line or atom; also where no Cα
    atom, or more than 5000, are left.

    >>> from importlib.resources import as_file, files
    >>> import jaxphys as jp
    >>> with as_file(files("jaxphys.data") / "ubiquitin.pdb") as path:
    ...     structure = jp.read_structure(path, chain="A")
    >>> structure.positions.shape, structure.residues[47]
    ((76, 3), 'LYS 48 A')
    """
    require(chain != "", "chain", "be one letter or None", "it is ''")
    check_kind("path", path, str | Path, "the path of a file")
    require(model >= 0, "model", "be a serial number", f"it is {model}")
    path = Path(path)
    content = _content(path)
    is_cif = path.suffix.lower() in (".cif", ".mmcif") or re.match(rb"(\s|#[^\n]*\n)*data_", content[: 2**16])
    if not is_cif:
        require(chain is None or len(chain) == 1, "chain", "be one letter or None", f"it is {chain!r}")
    residues: dict[tuple[str, ...], _Atom] = {}
    chains_found, models_found = set(), set()
    for its_model, atom in (_atoms_of_mmcif if is_cif else _atoms_of_pdb)(path, content):
        models_found.add(its_model)
        if its_model != model:
            continue
        if atom.in_chain:
            chains_found.add(atom.chain)
        if chain in (None, atom.chain):
            _add(residues, atom, path)
    found = _of_chains(residues)
    if not found:
        raise InputError(f"File {path} {_nothing_found(chain, model, chains_found, models_found)}.")
    numbers = np.array([atom.numbers for atom in found])
    return Structure(
        numbers[:, :3], [atom.label for atom in found], [atom.chain for atom in found], numbers[:, 3]
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
        refuse("positions", "place every node apart", f"nodes {i} and {j} coincide")
    too_short = "raise it, 10 to 15 Å are usual for proteins, or read one chain"
    require(len(edges), "cutoff", "join nodes", f"no two are within {cutoff:g} Å; {too_short}")
    topology = from_edges(edges, num_nodes=len(places), positions=places)
    pieces = int(topology.components().max()) + 1
    require(
        pieces == 1, "cutoff", "join all nodes", f"{cutoff:g} Å leave them in {pieces} pieces; {too_short}"
    )
    floppy = _num_floppy_modes(edges, bonds / lengths[:, None], places)
    if floppy and len(edges) == len(places) * (len(places) - 1) // 2:
        refuse("positions", "span three dimensions", "they lie in a plane or on a line")
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


def _content(path: Path) -> bytes:
    """The bytes of a structure file."""
    try:
        # Opening a pipe would wait for a writer.
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
    return content


def _atoms_of_pdb(path: Path, content: bytes) -> Iterator[tuple[int, _Atom]]:
    """Model and Cα of every residue that may be one of a chain, in the order of the file."""
    sequences: dict[str, set[str]] = {}  # chain → names of its residues, where the file tells them
    modified: set[tuple[str, str]] = set()
    model, ended = 1, set[str]()
    for line, record in enumerate(_records(content), start=1):
        kind = record[:6].rstrip()
        match kind:
            case "SEQRES":
                sequences.setdefault(record[11], set()).update(record[19:].split())
            case "MODRES":
                modified.add((record[16], record[18:23]))
            case "MODEL":
                what = "the serial number of a model"
                model, ended = int(_number(path, line, record, what, _MODEL, whole=True)), set()
            case "ENDMDL":
                # Until another MODEL opens, atoms belong to none.
                model = -1
            case "TER":
                ended.add(record[21])
            # Where the element is given, calcium in the wrong columns gives itself away.
            case "ATOM" | "HETATM" if record[12:16] == " CA " and record[76:78].strip().upper() != "CA":
                name, chain, number = record[17:20], record[21], record[22:27]
                in_chain: bool | None = kind == "ATOM" or name == "MSE" or (chain, number) in modified
                if not in_chain:
                    listed = sequences.get(chain)
                    if chain in ended or (listed is not None and name.strip() not in listed):
                        continue
                    in_chain = True if listed is not None and name not in _STANDARD else None
                yield model, _atom(path, line, record, in_chain)


def _records(content: bytes) -> Iterator[str]:
    """One by one the lines of a file; Latin-1, as remarks in old files are not always ASCII."""
    for record in io.BytesIO(content):
        # Short lines are filled, so that every column can be looked at.
        yield record.decode("latin-1").rstrip().ljust(80)


def _atoms_of_mmcif(path: Path, content: bytes) -> Iterator[tuple[int, _Atom]]:
    """The same of a file in the PDBx/mmCIF dictionary, version 5."""
    columns = _atom_site(path, content)
    size = len(columns["label_atom_id"])

    def column(*names: str) -> list[str | None]:
        """The first of these that the file has; what it leaves open is None."""
        found = next((columns[name] for name in names if name in columns), [None] * size)
        return [value if isinstance(value, str) else None for value in found]

    chains, names = column("auth_asym_id", "label_asym_id"), column("auth_comp_id", "label_comp_id")
    numbers, codes = column("auth_seq_id", "label_seq_id"), column("pdbx_PDB_ins_code")
    sequence, groups, models = column("label_seq_id"), column("group_PDB"), column("pdbx_PDB_model_num")
    locations, elements, serials = column("label_alt_id"), column("type_symbol"), column("id")
    fields = [column(f"Cartn_{axis}") for axis in "xyz"]
    fields += [column("occupancy"), column("B_iso_or_equiv")]
    has_sequence = any(sequence)
    for i in range(size):
        if columns["label_atom_id"][i] != "CA" or (elements[i] or "C").upper() == "CA":
            continue
        in_chain: bool | None = groups[i] != "HETATM" or names[i] == "MSE" or sequence[i] is not None
        if not in_chain:
            if has_sequence:
                continue
            in_chain = None
        place = f"atom {serials[i] or i + 1}"
        x, y, z, occupancy, b_factor = (
            _cif_number(path, place, what, values[i], absent)
            for what, values, absent in zip(
                _CIF_FIELDS, fields, (None, None, None, 1.0, math.nan), strict=True
            )
        )
        model = _cif_number(path, place, "the number of its model", models[i], 1.0)
        number = f"{numbers[i] or '?'}{codes[i] or ''}"
        yield (
            int(model),
            _Atom(
                *(place, chains[i] or " ", number, names[i] or "?", locations[i] or " ", occupancy),
                [x, y, z, b_factor],
                in_chain,
            ),
        )


# What a field is called, and what it is where the file leaves it open; coordinates may not be.
_CIF_FIELDS: dict[str, float | None] = {
    "the coordinate x": None,
    "the coordinate y": None,
    "the coordinate z": None,
}
_CIF_FIELDS |= {"the occupancy": 1.0, "the B-factor": math.nan}


def _atom_site(path: Path, content: bytes) -> dict[str, list[Any]]:
    """The columns of the table of atoms; text, or None and False where the file leaves a value open."""
    try:
        from gemmi import cif
    except ImportError:
        raise InputError(
            f"File {path} is in the mmCIF format, which takes gemmi to read: pip install 'jaxphys[proteins]'."
        ) from None
    try:
        blocks = [block.get_mmcif_category("_atom_site.") for block in cif.read_string(content)]
    except (ValueError, RuntimeError) as error:
        reason = ascii(" ".join(str(error).split())[:200])[1:-1]
        # Theirs begins with where: data:2:0(10): …
        at = re.match(r"\w+:(\d+):\d+\(\d+\): ", reason)
        where = f": line {at[1]}" if at else ""
        raise InputError(f"File {path}{where} is no mmCIF: {reason[at.end() if at else 0 :]}.") from None
    tables = [table for table in blocks if "label_atom_id" in table]
    if len(tables) != 1:
        raise InputError(
            f"File {path} must have one block with a table of atoms (_atom_site), but it has {len(tables)}."
        )
    return tables[0]


def _cif_number(path: Path, place: str, what: str, text: str | None, absent: float | None) -> float:
    if text is None and absent is not None:
        return absent
    # A standard uncertainty may follow: 1.234(5).
    digits = re.fullmatch(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)(?:\([0-9]+\))?", text or "")
    try:
        number = float(digits[1]) if digits else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        found = ascii(text[:60]) if text is not None else "none"
        raise InputError(f"File {path}: {place} must have {what}, a number, but there is {found}.")
    return number


def _of_chains(residues: dict[tuple[str, ...], _Atom]) -> list[_Atom]:
    """Those that are residues of chains, by their neighbours in the chain where the file does not say."""
    chains: dict[str, list[tuple[str, ...]]] = {}
    for key, atom in residues.items():
        chains.setdefault(atom.chain, []).append(key)
    for keys in chains.values():
        atoms = [residues[key] for key in keys]
        sure = [i for i, atom in enumerate(atoms) if atom.in_chain]
        for i, (key, atom) in enumerate(zip(keys, atoms, strict=True)):
            if atom.in_chain is None:
                is_within = bool(sure) and sure[0] < i < sure[-1]
                is_bonded = any(_is_a_step_away(atom, other) for other in atoms[max(i - 1, 0) : i + 2])
                # What has the number of a residue is bound to it, not one of its own.
                if key[:2] in residues or not (is_within or is_bonded):
                    del residues[key]
    return list(residues.values())


def _is_a_step_away(atom: _Atom, other: _Atom) -> bool:
    return _STEP[0] < math.dist(atom.numbers[:3], other.numbers[:3]) < _STEP[1]


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


def _atom(path: Path, line: int, record: str, in_chain: bool | None) -> _Atom:
    numbers = [_number(path, line, record, f"the coordinate {c}", at) for c, at in _COORDINATES.items()]
    occupancy = _number(path, line, record, "the occupancy", _OCCUPANCY)
    numbers.append(_number(path, line, record, "the B-factor", _B_FACTOR))
    name, chain, number = record[17:20], record[21], record[22:27]
    return _Atom(f"line {line}", chain, number, name, record[16], occupancy, numbers, in_chain)


def _add(residues: dict[tuple[str, ...], _Atom], atom: _Atom, path: Path) -> None:
    """Enter a Cα, or let it compete with another location of the same residue."""
    key: tuple[str, ...] = (atom.chain, atom.number)
    if atom.in_chain is None:
        # A ligand may have the number of a residue.
        key += (atom.name,)
    other = residues.get(key)
    if other is None:
        if len(residues) == MOST_RESIDUES:
            raise InputError(
                f"File {path} has more than {MOST_RESIDUES} Cα atoms; take one chain with `chain`."
            )
        residues[key] = atom
        return
    if atom.location == other.location:
        raise InputError(
            f"File {path}: {atom.place} must be another residue or another alternate location than "
            f"{other.place}, but both are {atom.label!r}."
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
