"""Runs as netCDF: written, read back, and one network of a run that may be a stranger's."""

import contextlib
import io
import math
import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5netcdf
import h5py
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxphys._checks import InputError, check_kind
from jaxphys.equilibrium import Status
from jaxphys.io.files import (
    LARGEST_ARRAYS,
    MOST_EDGES,
    MOST_ENTRIES,
    MOST_NODES,
    about,
    check_regular,
    shown,
    to_labels,
    to_numbers,
    write_atomically,
)
from jaxphys.networks.kinds import NetworkKind
from jaxphys.networks.physics import AbstractNetwork, network_classes
from jaxphys.networks.topology import Topology
from jaxphys.training._train import Run

_LARGEST_RUN = 4 * 2**30
"""Bytes of all variables of a run, once unpacked."""
_MOST_REALIZATIONS = 1_000_000
_VARIABLES = {"cost", "step", "k", "k_initial", "edges", "status"}
# Names of the axes behind (realization, record) of the functionals that `train` knows.
_AXES: dict[str, tuple[str, ...]] = {
    "k": ("edge",),
    "eigenvalues": ("mode",),
    "force_alignment": ("mode", "sample"),
    "response_alignment": ("mode", "sample"),
    "susceptibility": ("edge",),
}


def run_dataset(
    run: Run, *, attributes: Mapping[str, str | int | float] | None = None, **per_realization: Any
) -> xr.Dataset:
    """A `Run` as a labelled dataset; `run.nc` holds just this.

    Variables: `cost(realization, record)`, `step(record)`, `k` and `k_initial(realization, edge)`,
    `edges(edge, end)` or `(realization, edge, end)`, `status(realization)` (`Status` codes),
    `evaluations(realization)` of the rule,
    recorded functionals as `name(realization, record, …)`, `positions` where nodes have them,
    `node_name(node)` where nodes have names,
    the task's arrays as `task_*`, and any `per_realization` arrays by name. Node networks:
    edge = upper triangle with diagonal, row by row.
    """
    check_kind("run", run, Run, "a `Run`, as `train` returns it")
    network, task = run.network, run.task
    variables: dict[str, Any] = {
        "step": ("record", run.steps),
        "cost": (("realization", "record"), run.cost, {"long_name": "learning cost"}),
        "k": (("realization", "edge"), np.asarray(network.k), {"long_name": "learning degrees of freedom"}),
        "k_initial": (("realization", "edge"), np.asarray(run.initial_k)),
        "status": ("realization", run.status, {"long_name": "0: ok; else see jaxphys.Status"}),
    }
    topology = network.topology
    own: dict[str, tuple[Any, tuple[str, ...]]] = {
        "edges": (topology.edges, ("edge", "end")),
        "positions": (topology.positions, ("node", "axis")),
        "box": (topology.box, ("axis",)),
    }
    facts: dict[str, str | int | float] = {}
    for name, part in network.parts().items():
        if isinstance(part, str | int | float):
            facts[name] = part
        else:
            own[part_variable(name)] = part, ("edge", *(f"{name}_{i}" for i in range(np.ndim(part) - 2)))
    for name, (values, axes) in own.items():
        if values is not None:
            variables[name] = _shared(np.asarray(values), axes)
    if network.names is not None:
        variables["node_name"] = ("node", np.array(network.names, dtype=object))
    for name, axes, values in (
        ("force", ("terminal", "coordinate"), task.force),
        ("values", ("terminal", "held_row"), task.values),
        ("inputs", ("sample", "terminal"), task.inputs),
        ("readout", ("output", "coordinate"), task.readout),
        ("targets", ("sample", "output"), task.targets),
        ("weights", ("sample", "output"), task.weights),
        ("boundary", ("row", "coordinate"), task.boundary.rows),
    ):
        if values is not None:
            variables[f"task_{name}"] = (("realization", *axes), np.asarray(values))
    if run.evaluations is not None:
        variables["evaluations"] = ("realization", run.evaluations)
    for name, recorded in run.records.items():
        further = _AXES.get(name, tuple(f"{name}_{i}" for i in range(recorded.ndim - 2)))
        # The final k is there already; its history needs another name.
        variables[f"{name}_history" if name in variables else name] = (
            ("realization", "record", *further),
            recorded,
        )
    for name, values in per_realization.items():
        variables[name] = ("realization", np.asarray(values))
    sizes = {"num_nodes": network.num_nodes, "dimension": network.dimension}
    attrs = {"network": type(network).__name__, **sizes, **facts, **(attributes or {})}
    return xr.Dataset(variables, attrs=attrs)


def part_variable(name: str) -> str:
    """What a run calls an array that its networks are made of (`NetworkKind.parts`)."""
    return f"edge_{name}"


def dataset_kind(dataset: xr.Dataset) -> NetworkKind | None:
    """The kind of the networks of a run; None where the dataset does not say or no such class was defined."""
    network = _class_named(dataset.attrs.get("network"))
    return None if network is None else network.kind


def dataset_network(dataset: xr.Dataset, realization: int) -> AbstractNetwork | None:
    """The trained network of one realization of `run_dataset`, without padding, in JAX's present precision.

    None where the class of the networks is not known (`dataset_kind`).
    """
    network_class = _class_named(dataset.attrs.get("network"))
    if network_class is None:
        return None

    def own(name: str) -> np.ndarray | None:
        if name not in dataset:
            return None
        return dataset[name].isel(realization=realization, missing_dims="ignore").values

    edges = np.asarray(own("edges"))
    real = slice(None) if network_class.kind.is_matrix else edges[:, 0] != edges[:, 1]
    positions, box = (
        None if values is None else jnp.asarray(values, float) for values in (own("positions"), own("box"))
    )
    names = None if "node_name" not in dataset else tuple(map(str, dataset["node_name"].values))
    topology = Topology(
        jnp.asarray(edges[real], jnp.int32),
        positions,
        box,
        num_nodes=int(dataset.attrs["num_nodes"]),
        names=names,
    )
    parts = {}
    for name in network_class.kind.parts:
        array = own(part_variable(name))
        parts[name] = dataset.attrs[name] if array is None else jnp.asarray(array[real])
    return network_class.from_parts(topology, jnp.asarray(np.asarray(own("k"))[real], float), **parts)


def _class_named(name: object) -> type[AbstractNetwork] | None:
    return {each.__name__: each for each in network_classes().values()}.get(str(name))


def save_run(dataset: xr.Dataset | Run, path: Path | str) -> None:
    """Write a `Run`, or its `run_dataset`, as compressed netCDF (HDF5) with checksums, whole or not at all.

    Read it with `load_run` or `xarray.open_dataset(path)`.
    """
    if isinstance(dataset, Run):
        dataset = run_dataset(dataset)
    check_kind("dataset", dataset, xr.Dataset, "a `Run`, or a dataset of `run_dataset`")
    write_netcdf(dataset, path)


def write_netcdf(dataset: xr.Dataset, path: Path | str) -> None:
    """Write any dataset as `save_run` does: netCDF (HDF5) with checksums, compressed, whole or not at all."""
    content = netcdf(dataset)
    write_atomically(path, lambda to: to.write_bytes(content))


def netcdf(dataset: xr.Dataset) -> bytes:
    """What `write_netcdf` writes."""
    # Checksums cost no time that can be measured; without them a flipped bit is a wrong number.
    encoding = {
        name: {"fletcher32": True} | ({"zlib": True, "complevel": 4} if variable.size > 1000 else {})
        for name, variable in dataset.variables.items()
        if variable.ndim and variable.size and variable.dtype.kind in "fiub"
    }
    # In memory first: where a disk is full, HDF5 can take the whole process with it.
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def join_runs(
    parts: Sequence[Path],
    path: Path | str,
    attributes: Mapping[str, str | int] | None = None,
    *,
    in_memory: int = LARGEST_ARRAYS,
) -> None:
    """Datasets of `run_dataset`, one after another along the realization axis, as one file.

    One part is in memory at a time. What all parts share (a graph, say) is kept once; what only some of them
    share is written out for every realization. `attributes` come to those of the first part. The file is
    written whole or not at all: put together in memory if all parts have at most `in_memory` bytes, else on
    the disk beside the old one.
    """
    with xr.open_dataset(parts[0], engine="h5netcdf") as first:
        # Names of the axes that a variable has within one realization.
        axes = {name: tuple(d for d in first[name].dims if d != "realization") for name in first.variables}
        model = first.assign_attrs(attributes or {})
    sizes: list[int] = []
    shared: dict[Hashable, np.ndarray] = {}
    for part in parts:
        # Without xarray, which takes ten times as long to open a file.
        with h5py.File(part, "r") as run:
            sizes.append(run["realization"].shape[0])
            here = {name: run[name][()] for name in axes if run[name].ndim == len(axes[name])}
        if part == parts[0]:
            shared = here
        shared = {
            name: values
            for name, values in shared.items()
            if name in here and np.array_equal(values, here[name])
        }

    def write(to: Any) -> None:
        with h5netcdf.File(to, "w") as file:
            _declare(file, model, sum(sizes), shared)
            joined = {name: ChunkedRows(file[name]) for name in axes if name not in shared}
            for part, size in zip(parts, sizes, strict=True):
                with h5py.File(part, "r") as run:
                    for name, rows in joined.items():
                        values = run[name][()]
                        if values.ndim == len(axes[name]):
                            values = np.broadcast_to(values, (size, *values.shape))
                        rows.append(values)
            for rows in joined.values():
                rows.flush()

    # Where a disk is full, HDF5 can take the whole process with it: in memory first, or with room enough.
    needed = sum(part.stat().st_size for part in parts)
    if needed <= in_memory:
        content = io.BytesIO()
        write(content)
        write_atomically(path, lambda to: to.write_bytes(content.getbuffer()))
        return
    free = shutil.disk_usage(Path(path).parent).free
    if free < 1.2 * needed:
        raise InputError(
            f"File {path}: its {needed / 2**30:.2g} GiB need more room than the {free / 2**30:.2g} GiB that "
            "the disk has left; make room and resume."
        )
    write_atomically(path, write)


class ChunkedRows:
    """A variable that is written row by row, by whole chunks: one in pieces would be packed anew for each."""

    def __init__(self, variable: Any):
        self.variable, self.begin = variable, 0
        self.chunk = variable.chunks[0] if variable.chunks else 1
        self.waiting: list[np.ndarray] = []

    def append(self, values: np.ndarray) -> None:
        """Rows behind all others."""
        self.waiting.append(values)
        number = sum(map(len, self.waiting)) // self.chunk * self.chunk
        if number:
            self._write(number)

    def flush(self) -> None:
        """Write what is left."""
        self._write(sum(map(len, self.waiting)))

    def _write(self, number: int) -> None:
        if number:
            rows = np.concatenate(self.waiting)
            self.variable[self.begin : self.begin + number] = rows[:number]
            self.waiting, self.begin = [rows[number:]], self.begin + number


def _declare(file: Any, run: xr.Dataset, realizations: int, shared: Mapping[Hashable, np.ndarray]) -> None:
    """Dimensions, attributes and variables of a joined run; what is shared with its values."""
    file.dimensions = {**run.sizes, "realization": realizations}
    file.attrs.update(run.attrs)
    for name, variable in run.variables.items():
        dims = tuple(variable.dims)
        if name not in shared and "realization" not in dims:
            dims = ("realization", *dims)
        shape = tuple(file.dimensions[dim].size for dim in dims)
        options: dict[str, Any] = {}
        if dims and math.prod(shape) and variable.dtype.kind in "fiub":
            options = {"fletcher32": True, "chunks": shape}
        if math.prod(shape) > 1000:
            # About a megabyte each, so that one realization is read without all the others.
            one = max(math.prod(shape[1:]) * variable.dtype.itemsize, 1)
            rows = int(np.clip(2**20 // one, 1, shape[0]))
            options |= {"chunks": (rows, *shape[1:]), "compression": "gzip", "compression_opts": 4}
        fill = np.nan if variable.dtype.kind == "f" else None
        kind = variable.dtype if variable.dtype.kind in "fiub" else h5py.string_dtype()
        made = file.create_variable(name, dims, kind, fillvalue=fill, **options)
        made.attrs.update({key: value for key, value in variable.attrs.items() if key != "_FillValue"})
        if name in shared:
            made[...] = shared[name]


def last_step(path: Path | str) -> int:
    """How many steps a run was trained for."""
    with h5py.File(path, "r") as run:
        return int(run["step"][-1])


def recorded_of(path: Path | str, first: int, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps at which a run recorded, and what, `(size, T, …)` by the names that `Run` has for it.

    Of `size` realizations from the `first` one on; where there are fewer, that one takes the others' place.
    """
    with h5py.File(path, "r") as run:
        count = run["cost"].shape[0]
        rows = np.arange(first, first + size)
        names = {name.removesuffix("_history"): name for name in sorted(run)}
        found = {}
        for name, stored in names.items():
            if run[stored].ndim > 1 and _is_recorded(run, stored):
                values = run[stored][first : min(first + size, count)]
                found[name] = values[np.where(rows < count, rows - first, 0)]
        return run["step"][()].astype(int), found


def _is_recorded(run: Any, name: str) -> bool:
    """Whether a variable has realizations and records for its first two axes."""
    return [_axis(scale) for scale in run[name].dims][:2] == ["realization", "record"]


def _begins(variable: h5py.Dataset) -> str:
    """The name of a variable's first axis."""
    return _axis(variable.dims[0]) if variable.ndim else ""


def _axis(scale: Any) -> str:
    return scale[0].name.rsplit("/")[-1] if len(scale) else ""


def sampled_run(path: Path | str, most: int) -> xr.Dataset:
    """A run in memory, as `run_dataset`; of a large one at most `most` realizations, evenly chosen.

    Then the attribute `realizations` is the number of all. `path` names a file of our own, which is not
    checked as `load_run` does.
    """
    with xr.open_dataset(path, engine="h5netcdf") as run:
        realizations = run.sizes["realization"]
        if realizations <= most:
            return run.load()
        chosen = np.linspace(0, realizations - 1, most).round().astype(int)
        # HDF5 cannot choose from nothing.
        empty = [name for name in run.data_vars if not run[name].size]
        nothing = run[empty].isel(realization=slice(most)).load()
        found = run.drop_vars(empty).isel(realization=chosen).load().assign(nothing)
        return found.assign_attrs(realizations=realizations)


def load_run(path: Path | str) -> xr.Dataset:
    """Read a `run.nc` into memory.

    Raises `InputError` if the file is none of ours, is cut short, or would fill the memory.
    """
    with about(path):
        with _opened(path) as file:
            size = sum(_plain(file, name).nbytes for name in file)
        if size > _LARGEST_RUN:
            raise InputError(f"it unpacks to {size} bytes, more than the {_LARGEST_RUN} allowed.")
        try:
            return xr.load_dataset(path, engine="h5netcdf")
        except Exception:  # Layers below xarray raise what they like on broken files.
            raise InputError("it cannot be read as netCDF: it is broken or cut short.") from None


class RunNetwork(NamedTuple):
    """One realization of a run: its `kind` of network by tag, and what a network of that class is made of.

    `parts` are texts, numbers, and arrays with a row for each edge, by the names in `NetworkKind.parts`.
    """

    kind: str
    parts: dict[str, Any]
    num_nodes: int
    edges: np.ndarray
    k: np.ndarray
    positions: np.ndarray | None
    box: np.ndarray | None
    names: tuple[str, ...] | None
    realization: int


def read_run_network(path: Path | str, realization: int | None) -> RunNetwork:
    """The trained network of one realization (None: the typical one); nothing else of the run is read.

    Raises `InputError` without the name of the file.
    """
    with _opened(path) as file:
        network = _class_named(_attribute(file, "network", str))
        if network is None:
            raise InputError(
                "it does not say of which class its network is, or names one that was not defined before."
            )
        is_matrix = network.kind.is_matrix
        num_nodes = _attribute(file, "num_nodes", int)
        most = math.isqrt(MOST_ENTRIES) if is_matrix else MOST_NODES
        if not 1 <= num_nodes <= most:
            raise InputError(f"it must have between 1 and {most} nodes, but it says {num_nodes}.")
        stored = {name: part_variable(name) for name in network.kind.parts if part_variable(name) in file}
        parts = {
            name: _attribute(file, name, str | int | float)
            for name in network.kind.parts
            if name not in stored
        }
        shape = _plain(file, "k").shape
        if shape is None or len(shape) != 2 or not 1 <= shape[0] <= _MOST_REALIZATIONS or not shape[1]:
            raise InputError("variable `k` must have realizations and edges.")
        # A network of all couplings has an edge for every pair.
        if shape[1] > (MOST_ENTRIES if is_matrix else MOST_EDGES):
            raise InputError(f"it has {shape[1]} edges, more than allowed.")
        if realization is None:
            cost = _plain(file, "cost")
            if cost.ndim != 2 or not cost.shape[1] or not cost.shape[0] == shape[0]:
                raise InputError("variable `cost` must have realizations and records.")
            status = _plain(file, "status")
            if status.shape != shape[:1]:
                raise InputError("variable `status` must have one entry for every realization.")
            realization = _typical(_read(status, ()), _read(cost, (slice(None), -1)))
        if not 0 <= realization < shape[0]:
            raise InputError(
                f"realization must be between 0 and {shape[0] - 1}, but {realization} is asked for."
            )
        found = {"k": _read(_plain(file, "k"), (realization,))}
        for name, axes in {"edges": 2, "positions": 2, "box": 1, **dict.fromkeys(stored.values())}.items():
            if name in file:
                variable = _plain(file, name)
                # Arrays of edges begin with a realization or an edge, of which there may be as many.
                own = _begins(variable) == "realization" if axes is None else variable.ndim == axes + 1
                if (axes and variable.ndim not in (axes, axes + 1)) or (
                    own and variable.shape[:1] != shape[:1]
                ):
                    raise InputError(f"variable `{name}` has {variable.ndim} axes.")
                one = variable.shape[own:]
                if axes is None and one[:1] != shape[1:]:
                    raise InputError(f"variable `{name}` must have a row for every entry of `k`.")
                if math.prod(one) > 2 * MOST_ENTRIES:
                    raise InputError(f"variable `{name}` is larger than allowed.")
                found[name] = _read(variable, (realization,) if own else ())
        names = _names(file, num_nodes) if "node_name" in file else None
    if found["edges"].shape != (shape[1], 2) or found["edges"].dtype.kind not in "iu":
        raise InputError("variable `edges` must hold two nodes for every entry of `k`.")
    parts |= {name: found[variable] for name, variable in stored.items()}
    return RunNetwork(
        network.kind.tag,
        parts,
        num_nodes,
        found["edges"],
        found["k"],
        found.get("positions"),
        found.get("box"),
        names,
        realization,
    )


def read_run_task(path: Path | str, realization: int) -> dict[str, np.ndarray]:
    """What drives the networks of one realization: its task's `boundary`, `force`, `values` and `inputs`.

    Raises `InputError` without the name of the file.
    """
    found = {}
    with _opened(path) as file:
        for name in ("boundary", "force", "values", "inputs"):
            variable = _plain(file, f"task_{name}")
            if variable.ndim != 3 or realization >= variable.shape[0]:
                raise InputError(f"variable `task_{name}` must have an entry for realization {realization}.")
            if math.prod(variable.shape[1:]) > MOST_ENTRIES:
                raise InputError(f"variable `task_{name}` is larger than allowed.")
            found[name] = to_numbers(_read(variable, (realization,)), f"variable `task_{name}`", 2)
    return found


@contextlib.contextmanager
def _opened(path: Path | str) -> Iterator[h5py.File]:
    """A run as HDF5, known to have what a run has; whatever HDF5 says of it becomes an `InputError`."""
    check_regular(path)
    try:
        with h5py.File(path, "r") as file:
            missing = _VARIABLES - set(file)
            if missing:
                raise InputError(f"it is no jaxphys run: it lacks {', '.join(sorted(missing))}.")
            yield file
    except InputError:
        raise
    except Exception:  # h5py raises half a dozen kinds of errors on broken files.
        raise InputError("it cannot be read as netCDF: it is broken or cut short.") from None


def _plain(file: h5py.File, name: str) -> h5py.Dataset:
    """A variable whose numbers lie in this very file: links and virtual data can lead to any other."""
    if isinstance(file.get(name, getlink=True), h5py.HardLink):
        variable = file[name]
        if isinstance(variable, h5py.Dataset) and not variable.is_virtual and not variable.external:
            # A chunk is unpacked as a whole, however little is asked of it.
            if variable.chunks and math.prod(variable.chunks) * variable.dtype.itemsize > LARGEST_ARRAYS:
                raise InputError(f"variable {shown(name)} is packed in larger chunks than allowed.")
            return variable
    raise InputError(f"variable {shown(name)} must hold its numbers in the file itself.")


def _read(variable: h5py.Dataset, where: tuple[Any, ...]) -> np.ndarray:
    if variable.dtype.kind not in "fiu":
        raise InputError(f"variable {shown(variable.name)} must hold numbers.")
    return np.asarray(variable[where])


def _names(file: h5py.File, num_nodes: int) -> tuple[str, ...]:
    """Names of the nodes of a run, as text."""
    variable = _plain(file, "node_name")
    if h5py.check_string_dtype(variable.dtype) is None or variable.shape != (num_nodes,):
        raise InputError(f"variable `node_name` must hold {num_nodes} names, one for each node.")
    return to_labels(np.array(variable.asstr()[()], dtype=str), num_nodes, "variable `node_name`")


def _attribute(file: h5py.File, name: str, wanted: Any) -> Any:
    value = file.attrs.get(name)
    value = value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value
    if not isinstance(value, wanted):
        raise InputError(f"it does not say its {name}; write it with this version of jaxphys.")
    return value


def _shared(values: np.ndarray, axes: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Without the realization axis where all realizations agree, or there is none."""
    if values.ndim == len(axes):
        return axes, values
    return (axes, values[0]) if (values == values[0]).all() else (("realization", *axes), values)


def typical_realization(dataset: xr.Dataset) -> int:
    """The realization whose final cost is the median of those that did not fail (0 if all did)."""
    return _typical(dataset["status"].values, dataset["cost"].values[:, -1])


def _typical(status: np.ndarray, final_cost: np.ndarray) -> int:
    cost = np.where(status == Status.OK, final_cost, np.nan)
    if np.isnan(cost).all():
        return 0
    order = np.argsort(cost)  # NaN last
    return int(order[(np.isfinite(cost).sum() - 1) // 2])
