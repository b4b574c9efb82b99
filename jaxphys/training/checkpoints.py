"""Checkpoints of blocks of realizations: whole files, written aside, the last few kept, damage detected.

Blocks know nothing of one another, so each has files of its own, and they fit any number of devices and
processes. A file is a SHA-256 of the rest, a line of JSON that says what it belongs to, and the arrays as
Equinox writes them. What it belongs to is said part by part (network, optimizer, …), so that a refusal can
tell which of them differs.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Int, PyTree

from jaxphys._checks import InputError

T = TypeVar("T")
# Tables that JSON holds: numbers, texts, and lists and tables of these.
_Json: TypeAlias = dict[str, Any]

_FORMAT = "jaxphys checkpoint 4"
_NAME = re.compile(r"block-(\d{6,})-step-(\d{10,})\.ckpt", re.ASCII)


class Place(NamedTuple):
    """How far a block has come: the step that it stands at, and how many records it has."""

    step: int
    records: int


class Header(NamedTuple):
    """What a checkpoint says of itself: where it stands, at which steps its run records, and whether it holds
    what was recorded so far.
    """

    place: Place
    record_steps: Int[np.ndarray, " T"]
    has_records: bool


class Checkpoints:
    """The checkpoints of a run in a folder.

    **Arguments**

    - `folder`: made if it does not exist. `keep`: how many to keep for every block; a damaged one is then no
      loss.
    """

    def __init__(self, folder: Path | str, *, keep: int = 2):
        self.folder, self.keep = Path(folder), keep
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._pending: list[tuple[Future[None], Place]] = []
        self._whole: Place | None = None
        self._compared = False

    def save(
        self,
        block: int,
        header: Header,
        state: PyTree,
        identity: Mapping[str, str],
        *,
        alone: bool = False,
    ) -> None:
        """Write the `state` of a block, a pytree of NumPy arrays, in the background.

        `identity` says what run it belongs to, a digest for each of its parts; `alone` removes those before
        it. Raises `InputError` if an earlier one could not be written.
        """
        self._settle(wait=False)
        job = self._writer.submit(self._write, block, header, state, dict(identity), alone)
        self._pending.append((job, header.place))

    def wait(self) -> None:
        """Until everything is on disk; raises `InputError` if it cannot be."""
        self._settle(wait=True)

    def header(self, block: int) -> Header | None:
        """That of the newest whole checkpoint of a block; None if the block has none.

        Warns of damaged files; raises `InputError` if all are.
        """
        found = self._newest(block, tell=True)
        return None if found is None else _header(found[0])

    def record_steps(self) -> Int[np.ndarray, " T"] | None:
        """The steps at which the run that is here records, as far as any whole checkpoint says; else None."""
        for path in sorted(self.folder.glob("block-*"), reverse=True):
            if _NAME.fullmatch(path.name):
                with contextlib.suppress(OSError, ValueError):
                    return _header(_read(path)[0]).record_steps
        return None

    def load(self, block: int, like: T, identity: Mapping[str, str]) -> tuple[Place, T]:
        """The newest whole checkpoint, with arrays of the shapes of `like`.

        Raises `InputError` if there is none, or if it belongs to another run. Warns if other versions wrote
        it.
        """
        found = self._newest(block)
        if found is None:
            raise InputError(f"Checkpoint folder {self.folder} has none of block {block}.")
        header, body = found
        saved = header["run"]
        differ = [name for name in {**identity, **saved} if identity.get(name) != saved.get(name)]
        if header["block"] != block or differ:
            what = f"{_listed(differ)} differ{'' if len(differ) > 1 else 's'}" if differ else "its name lies"
            raise InputError(
                f"Checkpoint of block {block} in {self.folder} belongs to another run: {what}; hand in the "
                "same as before, name another folder, or do not resume."
            )
        self._compare_versions(header["versions"])
        try:
            return _header(header).place, eqx.tree_deserialise_leaves(io.BytesIO(body), like)
        except (ValueError, RuntimeError, EOFError) as error:
            raise InputError(
                f"Checkpoint of block {block} in {self.folder} does not fit this run: {_first_line(error)}"
            ) from None

    def _compare_versions(self, written: Mapping[str, str]) -> None:
        """Say once if another program wrote what this one goes on with."""
        others = [
            f"{name} {written.get(name)} (here {version})"
            for name, version in _versions().items()
            if written.get(name) != version
        ]
        if others and not self._compared:
            warnings.warn(
                f"Checkpoints in {self.folder} were written with {', '.join(others)}; numbers may differ in "
                "the last digit from those of one run.",
                stacklevel=2,
            )
        self._compared = True

    def clear(self) -> None:
        """Forget everything: a run starts afresh. Raises `InputError` if the folder is none."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"Argument `checkpoint` must name a folder, but {self.folder} is a file.")
        for path in self.folder.glob("block-*"):
            if _NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _settle(self, *, wait: bool) -> None:
        waiting = []
        for job, place in self._pending:
            if not (wait or job.done()):
                waiting.append((job, place))
                continue
            try:
                job.result()
                self._whole = place
            except OSError as error:
                self._pending = []
                before = (
                    "there is none yet"
                    if self._whole is None
                    else f"that of step {self._whole.step} is whole"
                )
                raise InputError(
                    f"Checkpoint folder {self.folder} cannot be written to ({error.strerror or error}); "
                    f"{before}. Make room and resume."
                ) from None
        self._pending = waiting

    def _write(
        self, block: int, header: Header, state: PyTree, identity: dict[str, str], alone: bool
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        place = header.place
        first = {
            "format": _FORMAT,
            "run": identity,
            "versions": _versions(),
            "block": block,
            **place._asdict(),
            "record_steps": _packed(header.record_steps),
            "has_records": header.has_records,
        }
        content = io.BytesIO()
        content.write((json.dumps(first) + "\n").encode())
        eqx.tree_serialise_leaves(content, state)
        checksum = hashlib.sha256(content.getbuffer()).hexdigest()
        path = self.folder / f"block-{block:06d}-step-{place.step:010d}.ckpt"
        temporary = path.with_name(f".{path.name}.part")
        try:
            # A file of its own, and not what a planted link leads to.
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with open(descriptor, "wb") as file:
                file.write((checksum + "\n").encode())
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(self.folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        for old in self._files(block)[: -1 if alone else -self.keep]:
            old.unlink(missing_ok=True)

    def _files(self, block: int) -> list[Path]:
        """Those of a block, the newest last."""
        found = []
        for path in self.folder.glob(f"block-{block:06d}-step-*.ckpt"):
            match = _NAME.fullmatch(path.name)
            if match:
                found.append((int(match[2]), path))
        return [path for _, path in sorted(found)]

    def _newest(self, block: int, *, tell: bool = False) -> tuple[_Json, bytes] | None:
        damaged = []
        for path in reversed(self._files(block)):
            try:
                header, body = _read(path)
            except (OSError, ValueError) as error:
                damaged.append(f"{path.name} is damaged ({_first_line(error)})")
                continue
            if tell:
                for each in damaged:
                    before = f"going on from the one before it, of step {header['step']}"
                    warnings.warn(f"Checkpoint {each}; {before}.", stacklevel=2)
            return header, body
        if damaged:
            raise InputError(
                f"Checkpoint folder {self.folder} has no whole checkpoint of block {block}: "
                f"{'; '.join(damaged)}. Remove these files to train the block from its start."
            )
        return None


def _read(path: Path) -> tuple[_Json, bytes]:
    """Header and body of a checkpoint; raises `ValueError` on any damage."""
    checksum, _, content = path.read_bytes().partition(b"\n")
    if checksum != hashlib.sha256(content).hexdigest().encode():
        raise ValueError("its checksum is wrong")
    first, _, body = content.partition(b"\n")
    try:
        header = json.loads(first)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError("it is of another format")
    try:
        _header(header)
    except (KeyError, TypeError):
        raise ValueError("its header lacks something") from None
    return header, body


def _header(first: _Json) -> Header:
    place = Place(first["step"], first["records"])
    return Header(place, _unpacked(first["record_steps"]), first["has_records"])


def regular(steps: int, every: int) -> Int[np.ndarray, " T"]:
    """Records every so many steps: ascending, from 0 to `steps`, which is always one.

    `steps`: of the whole run. `every`: how many steps lie between two records; fewer before the last one.

    >>> regular(10, 4).tolist()
    [0, 4, 8, 10]
    """
    return np.unique(np.asarray([*range(0, steps, every), steps], dtype=int))


def spacing(record_steps: Int[np.ndarray, " T"]) -> int | None:
    """Every how many steps something records; None if that is not regular."""
    every = int(record_steps[1] - record_steps[0]) if len(record_steps) > 1 else 1
    return every if np.array_equal(record_steps, regular(int(record_steps[-1]), every)) else None


def _packed(record_steps: Int[np.ndarray, " T"]) -> dict[str, int | list[int]]:
    every = spacing(record_steps)
    if every is None:
        return {"steps": record_steps.tolist()}
    return {"last": int(record_steps[-1]), "every": every}


def _unpacked(packed: _Json) -> Int[np.ndarray, " T"]:
    return regular(packed["last"], packed["every"]) if "every" in packed else np.asarray(packed["steps"], int)


def _versions() -> dict[str, str]:
    """What numbers depend on beside what was handed in."""
    from jaxphys._version import __version__

    return {"jaxphys": __version__, "jax": jax.__version__, "backend": jax.default_backend()}


def _listed(names: list[str]) -> str:
    """Names in a sentence."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _sync_folder(folder: Path) -> None:
    """Let the new name reach the disk as well; some file systems cannot be asked to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
