"""Files as text, tables and arrays: written whole or not at all, read within bounds, never executed.

Every reader of a file from elsewhere starts here: what is no regular file, or too large, is refused before it
is opened, and every complaint is an `InputError` of one line.
"""

import codecs
import contextlib
import csv
import difflib
import importlib.metadata
import io
import itertools
import math
import os
import platform
import re
import shutil
import stat
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxphys._checks import InputError

LARGEST_FILE = 64 * 2**20
"""Bytes of a text file or an archive of arrays."""
LARGEST_ARRAYS = 256 * 2**20
"""Bytes of all arrays of an archive, once unpacked."""
MOST_NODES = 20_000
MOST_EDGES = 1_000_000
MOST_ENTRIES = 16_000_000
"""Entries of a matrix: 4000 by 4000."""
LONGEST_LABEL = 200
_LONGEST_LINE = 2**20
_HELD_BY_FILES = "network|topology|edges|positions|box|k|matrix|responses|errors|driven|labels"
_MOST_ARRAYS = 64
# Up to which integers are exact in double precision.
_MOST_EXACT = 2**53
# Linear in the length of what it is tried on, unlike patterns in which digits can be split in two ways.
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
# As C's %a and Python's float.hex write them: exact.
_HEXADECIMAL = re.compile(
    r"[+-]?0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][+-]?\d{1,9}", re.ASCII
)


def write_atomically(path: Path | str, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all.

    `write` is handed a temporary path in the same folder, which then replaces `path`; where it raises, the
    temporary file is removed and `path` is as it was. Raises `OSError` that names a file, where the disk is
    full, say.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    # What another process left there, be it a link that would lead the writer elsewhere.
    temporary.unlink(missing_ok=True)
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        # A full disk is met by a write, which knows of no name.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


# Where files wait until all of them are whole.
_WAITING = ".unfinished"


def write_together(folder: Path, contents: Mapping[str, bytes], *, stale: Iterable[str] = ()) -> list[Path]:
    """Write files into a folder, all of them or none; names may lie in folders within.

    Files wait in a hidden folder until all are written; then what is there is replaced, and `stale` names are
    removed. The last of `contents` seals the folder: it is taken away first and comes back last, so that a
    process that is killed in between leaves a folder of which `is_unfinished` knows. Returns the paths, in
    order.
    """
    waiting, *rest, seal = folder / _WAITING, *contents
    _remove_waiting(waiting)
    try:
        for name, content in contents.items():
            path = waiting / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, partial(Path.write_bytes, data=content))
        for name in (seal, *stale):
            (folder / name).unlink(missing_ok=True)
        for name in (*rest, seal):
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(waiting / name, folder / name)
    finally:
        _remove_waiting(waiting)
    return [folder / name for name in contents]


def is_unfinished(folder: Path, seal: str) -> bool:
    """Whether a folder holds part of what `write_together` was to write, which was killed.

    `seal` is the file that it writes last.
    """
    return (folder / _WAITING).is_dir() and not (folder / seal).exists()


def _remove_waiting(waiting: Path) -> None:
    if waiting.is_symlink():  # What it leads to is someone else's.
        waiting.unlink()
    elif waiting.exists():
        shutil.rmtree(waiting)


def check_own_folder(path: Path) -> None:
    """Refuse a file or a link where a folder inside an output folder shall be.

    What a link leads to is someone else's: nothing may be written or removed there.
    """
    if path.is_symlink():
        raise InputError(f"{path}: must be a folder, but it is a link; remove it or give another folder")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: must be a folder, but it is a file; remove it or give another folder")


_LIBRARIES = (
    *("jax", "jaxlib", "equinox", "optax", "numpy", "scipy"),
    *("networkx", "xarray", "h5netcdf", "h5py"),
)
# What can change numbers or speed; nothing that names users, machines or secrets.
_ENVIRONMENT = (
    *("XLA_FLAGS", "NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION"),
    *("JAX_DEFAULT_PRNG_IMPL", "JAX_THREEFRY_PARTITIONABLE", "JAX_RANDOM_SEED_OFFSET", "JAX_DISABLE_JIT"),
    *("JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_NUMPY_DTYPE_PROMOTION", "JAX_DEBUG_NANS"),
    *("JAX_CPU_ENABLE_ASYNC_DISPATCH", "NVIDIA_TF32_OVERRIDE", "XLA_PYTHON_CLIENT_PREALLOCATE"),
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
)


def provenance() -> dict[str, str]:
    """What a run depended on, as text by name: versions, devices, flags, and the commit in a git checkout.

    - `jaxphys`, `python`, and the libraries that numbers and files pass through: versions.
    - `backend`, `device` (its kind), `devices` and `processes` (how many), `platform`.
    - `jax_enable_x64`, and those environment variables that are set, of a list that names no folders,
      machines or users; what looks like a path in their values is left out.
    - `commit`: of jaxphys, with `-dirty` where files were changed since.
    """
    from jaxphys._version import __version__

    record = {"jaxphys": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            record[name] = importlib.metadata.version(name)
    record |= {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "devices": str(jax.device_count()),
        "processes": str(jax.process_count()),
        "platform": platform.platform(),
        "jax_enable_x64": str(jax.config.read("jax_enable_x64")).lower(),
    }
    record |= {name: _without_paths(os.environ[name]) for name in _ENVIRONMENT if os.environ.get(name)}
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            described = subprocess.run(command, capture_output=True, text=True, check=True)
            record["commit"] = described.stdout.strip()
    return record


def _without_paths(flags: str) -> str:
    """Flags on one line; of those whose value could be a path only the name."""
    return " ".join(
        f"{flag.partition('=')[0]}=..." if re.search(r"=.*[/\\~]", flag) else flag
        for flag in flags.split()
        if not re.match(r"[^=]*[/\\~]", flag)
    )


@contextlib.contextmanager
def about(path: Path | str) -> Iterator[None]:
    """Let every complaint begin with the file that it is about.

    What functions call their arguments is what the file holds: the user who named the file passed none of
    them.
    """
    try:
        yield
    except InputError as error:
        complaint = re.sub(rf"^Argument `({_HELD_BY_FILES})`", r"its \1", str(error))
        raise InputError(f"File {shown_path(path)}: {complaint}") from None
    except MemoryError:
        raise InputError(f"File {shown_path(path)}: it needs more memory than there is.") from None


def shown_path(path: Path | str) -> str:
    """The name of a file in a message."""
    # A name may hold line breaks, terminal codes or bytes that no terminal can show.
    name = str(path)
    return name if name.isprintable() else ascii(name)


def check_regular(path: Path | str, *, largest: int | None = None) -> None:
    """Refuse what is missing, no regular file, empty or too large, before it is opened."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}.") from None
    except ValueError:
        raise InputError("it cannot be read: its name is none that a file can have.") from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError("it cannot be read: it is a folder; name a file in it.")
    # Opening a pipe waits for a writer, and a device may never end.
    if not stat.S_ISREG(found.st_mode):
        raise InputError("it cannot be read: it is a pipe, a device or the like, not a file.")
    if found.st_size == 0:
        raise InputError("it cannot be read: it is empty.")
    if largest is not None and found.st_size > largest:
        raise InputError(f"it cannot be read: it has {found.st_size} bytes, more than the {largest} allowed.")


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a regular file of at most `LARGEST_FILE`; raises `InputError`."""
    check_regular(path, largest=LARGEST_FILE)
    try:
        with open(path, "rb") as file:
            # The file may have grown since it was looked at.
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}.") from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"it cannot be read: it has more than the {LARGEST_FILE} bytes allowed.")
    return content


def read_text(path: Path | str, *, older: bool = False) -> str:
    """The text of a file of at most `LARGEST_FILE` bytes: UTF-8, or UTF-16 that begins with its mark.

    Raises `InputError`. Other encodings do not tell themselves from each other, and are not guessed, unless
    by `older`: then UTF-16 without its mark and Latin-1 are read too, as programs for Windows write them.
    """
    content = read_bytes(path)
    encoding = _encoding(content, older)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        called = encoding.upper().removesuffix("-SIG").removesuffix("-LE")
        raise InputError(
            f"it cannot be read: byte {error.start} is no {called} text; save it as UTF-8."
        ) from None
    if "\0" in text:
        raise InputError(f"it cannot be read: character {text.index(chr(0))} is NUL, so it is no text.")
    return text


def _encoding(content: bytes, older: bool) -> str:
    # What spreadsheets call Unicode text.
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if not older:
        return "utf-8-sig"
    # Every second byte of plain text in UTF-16 is zero; without a mark low bytes come first.
    if content[1:200:2] and content[1:200:2].count(0) > 0.7 * len(content[1:200:2]):
        return "utf-16-le"
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def shown(value: object) -> str:
    """A value from a file in a message: short, on one line, without terminal codes."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    return f"a {type(value).__name__}"


def to_number(value: object) -> float:
    """A finite number from a cell of text or a JSON value; NaN if it is none.

    Text may be written as Fortran does (`1.5D-3`) or, with its exponent, in hexadecimal (`0x1.8p+1`).
    """
    if isinstance(value, str):
        number = _from_text(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return math.nan
    else:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _from_text(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text.replace("d", "e").replace("D", "e"))
    if _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            return math.nan
    return math.nan


def no_number(value: object, where: str, must: str = "a finite number") -> InputError:
    """The error to raise about a value that is no number, or none that fits.

    **Arguments**

    - `value`: from a cell of text, JSON or an array. `where`: what it is and where, "`k` of line 3".
    - `must`: what it must be. A decimal comma gets its cure.
    """
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", value[:60]):
        hint = "; write it with a decimal point"
    return InputError(f"{where} must be {must}, but it is {shown(value)}{hint}.")


def to_label(value: object, where: str) -> str:
    """The name of a node from a file: text or an integer, of at most `LONGEST_LABEL` printable characters.

    Integers may be written as 1.0, as tables with gaps do. Tuples, which name the nodes of lattices in
    networkx and are lists in JSON, become what Python prints.
    """
    if isinstance(value, list) and 0 < len(value) < LONGEST_LABEL and all(map(_is_plain, value)):
        value = str(tuple(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{where} must be text or an integer, but it is {shown(value)}.")
    label = str(value).strip()
    if not label:
        raise InputError(f"{where} must name a node, but it is empty.")
    if len(label) > LONGEST_LABEL:
        raise InputError(f"{where} must have at most {LONGEST_LABEL} characters, but it has {len(label)}.")
    # Line breaks and terminal codes would be printed with the label.
    if not label.isprintable():
        raise InputError(f"{where} must be printable on one line, but it is {shown(label)}.")
    return label


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def check_names(found: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse a name that is nearly one of the known names: to ignore it would change the result unnoticed.

    **Arguments**

    - `found`: names in a file, of which the first thousand are compared. `known`: those with a meaning.
    - `what`: what names are of, in the message: "column", "array".

    Raises `InputError` on a name that differs from a known one by case, signs or a few letters, unless the
    file has that one, too.
    """
    found, known = dict.fromkeys(found), list(known)
    letters = {plain(name): name for name in known}
    # Comparing takes long, and nobody names more.
    for name in itertools.islice(found, 1000):
        if name in known:
            continue
        near = letters.get(plain(name))
        if near is None and len(name) < LONGEST_LABEL:
            close = difflib.get_close_matches(name, [each for each in known if len(each) > 3], 1, 0.85)
            near = close[0] if close else None
        if near is not None and near not in found:
            raise InputError(f"{what} {shown(name)} looks like `{near}`; rename it.")


def check_different(names: Iterable[str], what: str) -> None:
    """Raise `InputError` where a name stands twice; `what` says what names are of, "labels"."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"it must have different {what}, but {shown(name)} stands there twice.")
        seen.add(name)


def plain(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return re.sub(r"[\W_]", "", name).lower()


class Table(NamedTuple):
    """A delimited text file: its first row, and `(line number, cells)` of all others, read when asked for."""

    first: list[str]
    rows: Iterator[tuple[int, list[str]]]


def to_table(text: str) -> Table:
    """Cells of text separated by tabs, semicolons or commas, whichever of these the first line has.

    Empty lines are left out, and comments before the first row, which begin with `#`; every other row must
    have as many cells as the first. Raises `InputError`.
    """
    text = _without_comments(text)
    first_line = next((line for line in io.StringIO(text) if line.strip()), "")
    delimiter = next((mark for mark in "\t;" if mark in first_line), ",")
    rows = _rows(text, delimiter)
    first = next(rows, None)
    if first is None:
        raise InputError("it holds no lines.")
    return Table(first[1], rows)


def _without_comments(text: str) -> str:
    """The same lines without what is said before the table, numbered as before.

    The last of these holds the names of columns where numbers follow that are as many, as NumPy writes them.
    """
    before: list[str] = []
    place = 0
    for line in io.StringIO(text, newline=""):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        before.append(line)
        place += len(line)
    else:
        line = ""
    comments = [i for i, each in enumerate(before) if each.strip()]
    if not comments:
        return text
    mark = next((mark for mark in "\t;" if mark in line), ",")
    cells, names = line.split(mark), before[comments[-1]].lstrip().removeprefix("#").strip()
    named = mark in line and len(names.split(mark)) == len(cells)
    named &= any(not math.isnan(to_number(cell)) for cell in cells)
    kept = ["\n"] * len(before)
    if named:
        kept[comments[-1]] = names + "\n"
    return "".join(kept) + text[place:]


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_lines(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    width = None
    for count in itertools.count():
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"line {reader.line_num} is no CSV: {error}.") from None
        if cells is None:
            return
        if count > MOST_EDGES:
            raise InputError(f"it has more than the {MOST_EDGES} lines allowed.")
        cells = [cell.strip() for cell in cells]
        # Spreadsheets end tables with lines of separators.
        if not any(cells):
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise InputError(
                f"line {reader.line_num} must have {width} cells like the first, but it has {len(cells)}."
            )
        yield reader.line_num, cells


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > _LONGEST_LINE:
            raise InputError(f"line {number} has more than the {_LONGEST_LINE} characters allowed.")
        yield line


def read_archive(
    path: Path | str, wanted: Iterable[str], *, others: Callable[[str], bool] | None = None
) -> dict[str, np.ndarray]:
    """The wanted arrays of an `.npz` archive, numbers or text; others are left alone. Raises `InputError`.

    With `others` all arrays are read, and those that are none only refused where `others(name)` is true.
    """
    content = read_bytes(path)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = archive.infolist()
    except Exception:  # zipfile raises half a dozen kinds of errors on broken archives.
        raise InputError("it is no .npz archive, or it is cut short.") from None
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(names) > _MOST_ARRAYS or len(set(names)) < len(names):
        raise InputError(f"it must hold at most {_MOST_ARRAYS} arrays of different names.")
    for member, name in zip(members, names, strict=True):
        # Any text can be a name in numpy.savez; what would be a path is none.
        if not (re.fullmatch(r"[^/\\]+", name) and name.isprintable() and member.filename.endswith(".npy")):
            raise InputError(f"it holds {shown(member.filename)}, which is no name that numpy.savez gives.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > LARGEST_ARRAYS:
        raise InputError(f"it unpacks to {unpacked} bytes, more than the {LARGEST_ARRAYS} allowed.")
    wanted = list(wanted)
    check_names(names, wanted, "array")
    arrays = {}
    for member, name in zip(members, names, strict=True):
        try:
            # Opened even if unwanted: only the second copy of a name shows whether the first one is damaged.
            with archive.open(member) as file:
                # Not more than the archive promised, whatever comes out.
                packed = file.read(member.file_size) if name in wanted or others else b""
        except Exception:  # zlib, lzma, bz2 and zipfile each have their own.
            raise InputError(f"array {shown(name)} cannot be unpacked: the archive is broken.") from None
        if name in wanted or (others and others(name)):
            arrays[name] = from_npy(packed, f"array `{name}`")
        elif others:
            with contextlib.suppress(InputError):
                arrays[name] = from_npy(packed, f"array `{name}`")
    return arrays


def from_npy(content: bytes, what: str) -> np.ndarray:
    """The array in the bytes of an `.npy` file, numbers or text, of the shape and dtype that it declares.

    Nothing is unpickled, and what the header declares is held against the number of bytes before an array of
    that size is made. Raises `InputError` that begins with `what`, which says what the array is.
    """
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = header(file)
    except Exception:  # The header is a Python literal, which can be broken in many ways.
        raise InputError(f"{what} is no NumPy array, or it is cut short.") from None
    if dtype.hasobject:
        raise InputError(
            f"{what} holds pickled Python objects, which are never loaded; save numbers or text."
        )
    if dtype.kind not in "fiuU":
        raise InputError(f"{what} must hold numbers or text, but its dtype is {shown(str(dtype))}.")
    # The header's promise is held against what is there before anything of that size is made.
    size = math.prod(shape)
    rest = len(content) - file.tell()
    if any(side < 0 for side in shape) or size * dtype.itemsize != rest or not rest:
        raise InputError(f"{what} should have {size} entries, but that many are not in it.")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def to_numbers(array: np.ndarray, what: str, dimensions: int) -> np.ndarray:
    """The same array in double precision, with so many `dimensions`.

    Raises `InputError` that begins with `what` on text, another number of axes, and NaN or infinity.
    """
    if array.dtype.kind not in "fiu" or array.ndim != dimensions:
        raise InputError(
            f"{what} must hold numbers along {dimensions} axes, "
            f"but it has dtype {shown(str(array.dtype))} and {array.ndim} axes."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        entry = ", ".join(str(int(i)) for i in bad[0])
        raise InputError(f"{what} must hold finite numbers, but entry [{entry}] is not.")
    return numbers


def to_indices(array: np.ndarray, what: str, dimensions: int) -> np.ndarray:
    """The same array as 64-bit integers that number nodes from 0, with so many `dimensions`.

    Floating-point numbers will do where they are whole. Raises `InputError` that begins with `what` on other
    numbers, another number of axes, and nodes beyond `MOST_NODES`.
    """
    is_whole = array.dtype.kind == "f" and bool((np.abs(array) < _MOST_EXACT).all())
    if is_whole and bool((array == np.round(array)).all()):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu" or array.ndim != dimensions:
        raise InputError(
            f"{what} must hold integers along {dimensions} axes, "
            f"but it has dtype {shown(str(array.dtype))} and {array.ndim} axes."
        )
    if array.size and not (int(array.min()) >= 0 and int(array.max()) < MOST_NODES):
        raise InputError(f"{what} must hold numbers of nodes between 0 and {MOST_NODES - 1}.")
    return array.astype(np.int64)


def to_labels(array: np.ndarray | None, count: int, what: str = "array `labels`") -> tuple[str, ...]:
    """Names of `count` nodes from an array of text or integers, `(count,)`; their numbers where it is None.

    Raises `InputError` that begins with `what` on another shape, on what `to_label` refuses, and on names
    that stand twice.
    """
    if array is None:
        return tuple(str(i) for i in range(count))
    if array.dtype.kind not in "Uiuf" or array.shape != (count,):
        raise InputError(f"{what} must hold {count} names, one for every node.")
    try:
        names = array.tolist()
    except ValueError:
        raise InputError(f"{what} must hold text, but it holds other bytes.") from None
    labels = tuple(to_label(name, f"entry {i} of {what}") for i, name in enumerate(names))
    check_different(labels, "labels")
    return labels


def jsonable(value: Any) -> Any:
    """The same as JSON can hold it: lists for arrays, null for numbers that are none."""
    if isinstance(value, dict):
        return {str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
