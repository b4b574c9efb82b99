"""The realization axis over the devices of one process or many.

Realizations never speak to one another, so they are cut into blocks of a fixed size, and every device works
on one block at a time: a program over more devices is the same program on each of them, and its results are
the same to the last bit. What processes do tell one another is when to stop, when to save and how far to go.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from jaxphys._checks import InputError, described, require

T = TypeVar("T")

AXIS = "realization"
_EACH, _ALL = PartitionSpec(AXIS), PartitionSpec()

# Realizations that one device works on at once: what they need stays in the caches of a core, and fills a
# GPU.
_BLOCK = {"cpu": 64, "gpu": 1024}


class ProcessLost(RuntimeError):
    """Another process of the run does not answer any more."""


class CommonFailure(InputError):
    """All processes know that they cannot go on, so that they may leave in good order."""


class LocalFailure(InputError):
    """This process alone cannot go on: the others wait for it, so it must not leave in good order."""


def start_processes(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    patience: int = 60,
) -> None:
    """Join the other processes of a run, each of which calls this before anything else of JAX.

    With no arguments, JAX finds its place in what SLURM, Open MPI, mpi4py or Kubernetes set in the
    environment.

    **Arguments**

    - `coordinator`: `"host:port"` where the first process listens. `processes`: how many there are.
      `process`: which of them this is, from 0. All three or none.
    - `patience`: seconds without a sign of life after which a process counts as dead; the others then stop.

    Raises `InputError` if only some are given, or JAX does not find the others.
    """
    given = [argument is not None for argument in (coordinator, processes, process)]
    require(
        all(given) or not any(given),
        "coordinator",
        "come with the number of processes and of this one",
        "only some are given",
    )
    if processes is not None and process is not None:
        require(processes > 0, "processes", "be positive", f"it is {processes}")
        require(0 <= process < processes, "process", f"lie between 0 and {processes - 1}", f"it is {process}")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=max(patience, 60),
            heartbeat_timeout_seconds=patience,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            "The other processes cannot be found; give coordinator, number of processes and of this one, or "
            f"start under SLURM, MPI or Kubernetes ({reason})."
        ) from None


def shut_down() -> None:
    """Part from the other processes, once there is nothing left to say; does nothing in a program of one."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


def realization_mesh(devices: object = None) -> Mesh:
    """A mesh of one axis, the realizations, over `devices`: all devices of all processes by default."""
    if devices is None:
        devices = jax.devices()
    chosen = list(devices) if isinstance(devices, Iterable) else []
    is_list = len(chosen) > 0
    require(is_list, "devices", "be a list of devices, as `jax.devices()`", f"it is {described(devices)}")
    return Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))


def default_block(realizations: int) -> int:
    """Realizations per block: blocks of like size, each small enough for one device.

    Depends on their number and on the kind of device, never on how many devices there are.

    >>> from jaxphys.training.devices import default_block
    >>> import jax
    >>> default_block(200) if jax.default_backend() == "cpu" else 50
    50
    """
    most = _BLOCK.get(jax.default_backend(), _BLOCK["gpu"])
    return -(-realizations // -(-realizations // most))


def own_places(mesh: Mesh) -> list[int]:
    """Places along the mesh whose devices belong to this process."""
    return [
        place for place, device in enumerate(mesh.devices.flat) if device.process_index == jax.process_index()
    ]


def spread(mesh: Mesh, trees: Sequence[T]) -> T:
    """Trees of arrays that lead with realizations, one for each of this process's places, as one over all.

    `mesh`: of all devices. `trees`: of one structure and of like shapes, in the order of `own_places`. Random
    keys are arrays, too; what is no array is taken from the first tree.
    """
    sharding = NamedSharding(mesh, _EACH)

    def whole(*parts: PyTree) -> PyTree:
        if not eqx.is_array(parts[0]):
            return parts[0]
        if jax.dtypes.issubdtype(getattr(parts[0], "dtype", None), jax.dtypes.prng_key):
            bits = whole(*(jax.random.key_data(part) for part in parts))
            return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(parts[0]))
        return jax.make_array_from_process_local_data(
            sharding, np.concatenate([np.asarray(p) for p in parts])
        )

    return jax.tree.map(whole, *trees)


def own_parts(mesh: Mesh, tree: PyTree[Array]) -> list[PyTree[np.ndarray]]:
    """The way back from arrays over all devices: a tree of NumPy arrays for each of this process's places.

    `mesh`: of all devices. `tree`: of arrays that lead with realizations, as `on_each_device` returns them.
    Of random keys the plain numbers are returned.
    """
    devices = [mesh.devices.flat[place] for place in own_places(mesh)]

    def on(device: jax.Device, array: Array) -> np.ndarray:
        return next(np.asarray(s.data) for s in array.addressable_shards if s.device == device)

    def plain(array: Array) -> Array:
        is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(array) if is_key else array

    tree = jax.tree.map(plain, tree)
    return [jax.tree.map(lambda array, d=device: on(d, array), tree) for device in devices]


def on_each_device(mesh: Mesh, function: Callable[..., T], blocks: PyTree, *common: PyTree) -> T:
    """`function(blocks, *common)` on every device for itself, under `jit`; there is no talk between devices.

    Arrays of `blocks` and of what comes back lead with realizations, cut into as many parts as there are
    devices; each sees its own. `common` is the same on all.
    """
    arrays, rest = eqx.partition((blocks, common), eqx.is_array)

    def local(own: PyTree, shared: PyTree) -> T:
        blocks, common = eqx.combine((own, shared), rest)
        return function(blocks, *common)

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(_EACH, _ALL), out_specs=_EACH, check_vma=False)
    return mapped(*arrays)


def global_max(values: Sequence[float | int] | np.ndarray) -> np.ndarray:
    """The largest of what all processes say, number by number; every process must ask.

    Raises `ProcessLost` if one does not answer.
    """
    found = np.asarray(values, dtype=float)
    if jax.process_count() == 1:
        return found
    # As pairs of integers: processes may run in single precision, where numbers of steps would be rounded.
    bits = np.frombuffer(found.tobytes(), np.int32).reshape(-1, 2)
    try:
        agreed = np.asarray(multihost_utils.process_allgather(bits))
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise ProcessLost(str(error).splitlines()[0]) from None
    return np.frombuffer(agreed.tobytes(), float).reshape(-1, len(found)).max(axis=0)


def gathered(mesh: Mesh, trees: Sequence[T]) -> list[T]:
    """Each place's tree of NumPy arrays on every process; `trees` are those of this process's places.

    Every process must call it. `mesh`: of all devices. `trees`: of one structure and of like shapes on all
    processes. **Returns** one for each place of the mesh, in order.
    """
    if jax.process_count() == 1:
        return list(trees)
    whole = multihost_utils.process_allgather(spread(mesh, trees), tiled=True)
    leaves, structure = jax.tree.flatten(whole)
    parts = [np.split(np.asarray(leaf), mesh.devices.size) for leaf in leaves]
    return [jax.tree.unflatten(structure, each) for each in zip(*parts, strict=True)]


def available_memory() -> int:
    """Bytes that this process may still take: of the device, or of the machine and its control group."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return min(_free_of_machine(), _free_of_group())


def _free_of_machine() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    # Elsewhere the whole memory, less what others are likely to hold.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_of_group() -> int:
    """What a container or a queue leaves to its processes."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            most = int(file.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            return max(most - int(file.read()), 0)
    except (OSError, ValueError):
        return 2**62
