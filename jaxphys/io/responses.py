"""Measured responses in files: readings of nodes under unit inputs, without any topology."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxphys._checks import InputError
from jaxphys.inspection.squares import strange_responses
from jaxphys.io import matrices
from jaxphys.io.files import (
    MOST_EDGES,
    MOST_ENTRIES,
    MOST_NODES,
    Table,
    about,
    check_different,
    check_names,
    from_npy,
    no_number,
    read_archive,
    read_bytes,
    read_text,
    shown,
    to_indices,
    to_label,
    to_labels,
    to_number,
    to_numbers,
    to_table,
)
from jaxphys.io.networks import (
    NETWORK_ARRAYS,
    NetworkFile,
    ask_meaning,
    checked,
    headless,
    is_edge_list,
    is_of_edges,
    network_from_arrays,
    network_from_matrix,
    network_from_table,
    read_network,
)
from jaxphys.io.strengths import Said

_LONG = ("input", "output", "response")
_ARRAYS = ("responses", "errors", "driven", "labels")


class ResponseFile(NamedTuple):
    """Measured responses, and what is known of them.

    - `responses`: `(n, m)` reading of node i (row) under a unit input at node `driven[j]` (column), in units
      of 1/k.
    - `errors`: `(n, m)` standard deviations of the readings, None where the file does not tell them.
    - `driven`: `(m,)` row numbers of the driven nodes.
    - `labels`: `(n,)` names of the nodes.
    """

    responses: np.ndarray
    errors: np.ndarray | None
    driven: np.ndarray
    labels: tuple[str, ...]


def read_responses(path: Path | str) -> ResponseFile:
    """Read measured responses: a table (`.csv`, `.tsv`), `.npz`, or a square matrix as `.npy`.

    A table has the columns `input`, `output`, `response` and perhaps `error`, a line for every reading
    (repeated readings are averaged; their standard error is the error where none is given and all are
    repeated); or `node` and the names of the driven nodes, a line for every node that is read, perhaps with
    `error` last; or only numbers, a square. `docs/files.md` shows each.

    Raises `InputError` that names the file, the place in it, and what is wrong.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import read_responses
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "responses.csv"
    >>> _ = path.write_text("node,in\\nin,0.75\\nout,0.5\\n")
    >>> read = read_responses(path)
    >>> read.responses.tolist(), read.driven.tolist(), read.labels
    ([[0.75], [0.5]], [0], ('in', 'out'))
    """
    suffix = Path(path).suffix.lower()
    with about(path):
        if suffix in (".csv", ".tsv"):
            table = to_table(read_text(path))
            if is_edge_list(table.first):
                raise InputError("it must hold responses, but it holds the edges of a network.")
            return _from_table(table)
        if suffix == ".npz":
            return _from_arrays(read_archive(path, _ARRAYS))
        if suffix == ".npy":
            return _from_arrays({"responses": from_npy(read_bytes(path), "the file")})
        raise InputError(f"it must end in .csv, .tsv, .npz or .npy, but it ends in {shown(suffix)}.")


def read_measured(
    path: Path | str,
    *,
    kind: str | None = None,
    realization: int | None = None,
    values: str | None = None,
    unweighted: bool = False,
    matrix: str | None = None,
) -> NetworkFile | ResponseFile:
    """Read whatever a file holds of a network: the network itself, or measured responses.

    Tables and `.npz` archives tell by their columns or arrays which of the two they hold, other formats by
    their suffix. A square of numbers is one of responses, unless it looks like something else: then it takes
    `matrix` to say what it is, `"responses"`, `"adjacency"` (conductances A_ij), `"laplacian"` (conductances
    -L_ij) or `"hessian"` (of a node network). Other arguments and errors are those of `read_network`;
    responses take none of them.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import read_measured
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "square.csv"
    >>> _ = path.write_text("1.5,0.5\\n0.5,1\\n")
    >>> type(read_measured(path)).__name__
    'ResponseFile'
    >>> _ = path.write_text("0,0.5\\n0.5,0\\n")
    >>> read_measured(path, matrix="adjacency").network.k.tolist()
    [0.5]
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".tsv", ".npz", ".npy"):
        checked(path, kind, values, unweighted, matrix)
        return read_network(path, kind=kind, realization=realization, values=values, unweighted=unweighted)
    said = checked(path, kind, values, unweighted, matrix)
    with about(path):
        if realization is not None:
            raise InputError("it holds no realizations to choose from; only a run (.nc) does.")
        if suffix == ".npz":
            return _from_archive(path, said)
        if suffix == ".npy":
            return _from_any_square(_from_arrays({"responses": from_npy(read_bytes(path), "the file")}), said)
        table = to_table(read_text(path))
        if is_edge_list(table.first):
            return network_from_table(table, said)
        found = _from_table(table, said)
        # What names its columns so says that it holds responses.
        return _as_responses(found, said) if set(_LONG) <= set(table.first) else _from_any_square(found, said)


def _from_archive(path: Path | str, said: Said) -> NetworkFile | ResponseFile:
    arrays = read_archive(path, {*_ARRAYS, *NETWORK_ARRAYS}, others=is_of_edges)
    if "responses" not in arrays:
        return network_from_arrays(
            {name: array for name, array in arrays.items() if name not in ("errors", "driven")}, said
        )
    if {"edges", "edge_index", "matrix"} & set(arrays):
        raise InputError("it must hold a network or responses, but it holds both.")
    return _as_responses(_from_arrays(arrays), said)


def _from_any_square(found: ResponseFile, said: Said) -> NetworkFile | ResponseFile:
    """Responses, or the network whose matrix was read; asks where it looks like something else."""
    rows, columns = found.responses.shape
    is_square = found.driven.tolist() == list(range(rows))
    if said.matrix in (None, "responses"):
        strange = strange_responses(found.responses) if is_square and said.matrix is None else None
        if strange is not None:
            raise InputError(f"it should hold responses, but {strange}; {ask_meaning()}")
        return _as_responses(found, said)
    if not is_square:
        raise InputError(f"the matrix of a network must be square, but it is {rows} by {columns}.")
    return network_from_matrix(found.responses, found.labels, said)


def _as_responses(found: ResponseFile, said: Said) -> ResponseFile:
    if said.kind is not None:
        raise InputError(f"it holds responses, which are not those of a {said.kind} network or another.")
    if said.values is not None or said.unweighted or said.matrix not in (None, "responses"):
        raise InputError("it holds responses, of which nothing else can be said.")
    return found


def _from_arrays(arrays: dict[str, np.ndarray]) -> ResponseFile:
    if "responses" not in arrays:
        raise InputError("it must hold an array `responses`, but it has none.")
    responses = to_numbers(arrays["responses"], "array `responses`", 2)
    rows, columns = responses.shape
    _check_size(rows, columns)
    if "driven" in arrays:
        driven = to_indices(arrays["driven"], "array `driven`", 1)
    elif rows == columns:
        driven = np.arange(rows)
    else:
        raise InputError(
            f"it must hold an array `driven`, the row of the driven node of each column, because "
            f"`responses` is not square but {rows} by {columns}."
        )
    if len(driven) != columns or len(set(driven.tolist())) < columns or driven.max() >= rows:
        raise InputError(
            f"array `driven` must hold {columns} different rows, one for each column of `responses`."
        )
    errors = None
    if "errors" in arrays:
        errors = to_numbers(arrays["errors"], "array `errors`", 2)
        if errors.shape != responses.shape or (errors < 0).any():
            raise InputError(
                f"array `errors` must hold {rows} by {columns} standard deviations, none negative."
            )
    return ResponseFile(responses, errors, driven, to_labels(arrays.get("labels"), rows))


def _from_table(table: Table, said: Said | None = None) -> ResponseFile:
    """Responses in a table; `said` where it is not known that it holds responses at all."""
    first = table.first
    if set(_LONG) <= set(first):
        return _from_readings(table)
    if first[0] in ("", "node", "output"):
        return _from_named_rows(table)
    if all(_looks_like_a_number(cell) for cell in first):
        return _from_square(table, said)
    check_names(first, (*_LONG, "error", "source", "target"), "column")
    raise InputError(
        "it must name in its first line the columns source and target (a network), or input, output and "
        f"response, or node and the driven nodes (responses), but that line is {shown(', '.join(first))}."
    )


def _looks_like_a_number(cell: str) -> bool:
    """Also NaN and infinity, which are then refused as such."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _from_readings(table: Table) -> ResponseFile:
    """A line for every reading."""
    header = table.first
    check_names(header, (*_LONG, "error"), "column")
    check_different(header, "columns")
    at = {name: i for i, name in enumerate(header)}
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    lines: dict[str, int] = {}  # where an input is named first
    pairs: list[tuple[int, int]] = []
    readings: list[float] = []
    given: list[float] = []
    for line, cells in table.rows:
        driven, read = (to_label(cells[at[name]], f"{name} in line {line}") for name in ("input", "output"))
        lines.setdefault(driven, line)
        pairs.append((inputs.setdefault(driven, len(inputs)), outputs.setdefault(read, len(outputs))))
        readings.append(_cell(cells[at["response"]], f"`response` in line {line}"))
        if "error" in at:
            given.append(_cell(cells[at["error"]], f"`error` in line {line}", lowest=0.0))
    _check_size(len(outputs), len(inputs))
    unread = next((name for name in inputs if name not in outputs), None)
    if unread is not None:
        raise InputError(
            f"input {shown(unread)} in line {lines[unread]} must be read too, but it is no output."
        )
    # Readings of one pair side by side, pairs by input and then by output.
    numbers = np.array(pairs) @ np.array([len(outputs), 1])
    order = np.argsort(numbers, kind="stable")
    present, starts, repeats = np.unique(numbers[order], return_index=True, return_counts=True)
    size = len(outputs) * len(inputs)
    if len(present) < size:
        gaps = np.flatnonzero(present != np.arange(len(present)))
        column, row = divmod(int(gaps[0]) if gaps.size else len(present), len(outputs))
        raise InputError(
            "it must have a reading of every output under every input, but it has none of "
            f"{shown(list(outputs)[row])} under {shown(list(inputs)[column])}."
        )
    values = np.array(readings)[order]
    errors = None
    # What overflows is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.add.reduceat(values, starts) / repeats
        if "error" in at:
            errors = np.sqrt(np.add.reduceat(np.array(given)[order] ** 2, starts)) / repeats
        elif (repeats > 1).all():
            scatter = np.add.reduceat((values - np.repeat(mean, repeats)) ** 2, starts)
            errors = np.sqrt(scatter / (repeats - 1) / repeats)
    shape = (len(inputs), len(outputs))
    return ResponseFile(
        _finite(mean).reshape(shape).T.copy(),
        None if errors is None else _finite(errors).reshape(shape).T.copy(),
        np.array([outputs[name] for name in inputs]),
        tuple(outputs),
    )


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise InputError("it holds readings too large to be averaged; choose another unit.")
    return values


def _from_named_rows(table: Table) -> ResponseFile:
    """A line for every node that is read, a column for every node that is driven."""
    header = table.first
    check_different(header, "columns")
    with_errors = header[-1] == "error"
    names = [
        to_label(name, f"column {i + 2}") for i, name in enumerate(header[1 : len(header) - with_errors])
    ]
    if not names:
        raise InputError("it must have a column for every driven node, but it has none.")
    row_of: dict[str, int] = {}
    rows: list[np.ndarray] = []
    errors: list[float] = []
    for line, cells in table.rows:
        label = to_label(cells[0], f"the node in line {line}")
        if label in row_of:
            raise InputError(f"line {line} repeats the node {shown(label)}.")
        row_of[label] = len(rows)
        rows.append(_cells(cells[1 : 1 + len(names)], names, line))
        if with_errors:
            errors.append(_cell(cells[-1], f"`error` in line {line}", lowest=0.0))
        _check_size(len(rows), len(names))
    _check_size(len(rows), len(names))
    missing = next((name for name in names if name not in row_of), None)
    if missing is not None:
        raise InputError(f"the driven node {shown(missing)} must be read too, but it has no line of its own.")
    return ResponseFile(
        np.array(rows),
        np.repeat(np.array(errors)[:, None], len(names), axis=1) if with_errors else None,
        np.array([row_of[name] for name in names]),
        tuple(row_of),
    )


def _from_square(table: Table, said: Said | None) -> ResponseFile:
    """Numbers alone: nodes are numbered from 0."""
    width = len(table.first)
    _check_size(width, width)
    names = [str(i + 1) for i in range(width)]
    rows: list[np.ndarray] = []
    line = 1
    # Narrow tables may be edge lists, which are as long as they like.
    most = MOST_EDGES if width in (2, 3, 4) else width
    for line, cells in itertools.chain([(1, table.first)], table.rows):
        if len(rows) == most:
            break
        rows.append(_cells(cells, names, line))
    else:
        line = 0
    if said is not None and said.matrix is None and matrices.holds_edges(np.array(rows)):
        raise InputError(f"its lines look like edges without names of their columns{headless(table.first)}.")
    if len(rows) > width or line:
        raise InputError(
            f"without a first line of names it must be square, but it has more than {width} lines of {width} "
            "cells."
        )
    if len(rows) < width:
        raise InputError(
            f"without a first line of names it must be square, but it has {len(rows)} lines of {width} cells."
        )
    return ResponseFile(np.array(rows), None, np.arange(width), to_labels(None, width))


def _cells(cells: Sequence[str], names: Sequence[str], line: int) -> np.ndarray:
    row = np.array([to_number(cell) for cell in cells])
    bad = np.flatnonzero(np.isnan(row))
    if bad.size:
        raise no_number(cells[bad[0]], f"column {shown(names[bad[0]])} in line {line}")
    return row


def _cell(cell: str, where: str, lowest: float = -math.inf) -> float:
    number = to_number(cell)
    if not number >= lowest:
        raise no_number(cell, where, "a finite number" if lowest < 0 else "a finite number and not negative")
    return number


def _check_size(rows: int, columns: int) -> None:
    if not rows or not columns:
        raise InputError("it must hold readings, but it has none.")
    if rows > MOST_NODES or rows * columns > MOST_ENTRIES:
        raise InputError(
            f"it holds {rows} by {columns} responses, more than the {MOST_NODES} nodes or {MOST_ENTRIES} "
            "entries allowed."
        )
