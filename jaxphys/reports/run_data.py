"""What pictures of a run need of its dataset, `jaxphys.io.run_dataset`."""

from typing import Literal

import numpy as np
import xarray as xr

from jaxphys._checks import InputError
from jaxphys.io.runs import dataset_kind
from jaxphys.networks.kinds import NetworkKind
from jaxphys.reports.pictures import Drawing, drawing, quantiles


def variable(dataset: xr.Dataset, name: str) -> np.ndarray:
    """The values of a variable; raises `InputError` if it is missing.

    `dataset`: a run. `name`: of the variable. **Returns** an array with the variable's axes.
    """
    if name not in dataset:
        raise InputError(f"Dataset must hold `{name}` for this, but it does not.")
    return np.asarray(dataset[name].values)


def succeeded(dataset: xr.Dataset) -> np.ndarray:
    """Which realizations ended well, `(realization,)` booleans. Raises `InputError` without `status`."""
    return variable(dataset, "status") == 0


def successful(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Values of a variable in the realizations that ended well, `(realization, …)`, NaN where not finite.

    Raises `InputError` if the variable or `status` is missing or every realization failed.
    """
    values, kept = variable(dataset, name), succeeded(dataset)
    if not kept.any():
        raise InputError("Dataset must hold a realization that ended well, but every one failed.")
    return np.where(np.isfinite(values[kept]), values[kept], np.nan)


def is_soon_over(dataset: xr.Dataset) -> bool:
    """Whether learning is over after a tenth of the steps, which then belong on a logarithmic axis.

    It is where the median cost has come within a factor of 10 of its last value by then, or where more than
    half of the records lie there.
    """
    step = variable(dataset, "step")
    early = step <= step[-1] / 10
    if len(step) < 3 or early.sum() < 2:
        return False
    soon_over = False
    if "cost" in dataset:
        median = quantiles(successful(dataset, "cost"))[1]
        soon_over = bool(median[early][-1] <= max(10 * median[-1], 1e-12 * median[0]) < median[0])
    return soon_over or bool(early.mean() > 0.5)


def of_realization(dataset: xr.Dataset, name: str, realization: int, *, rank: int) -> np.ndarray:
    """A variable of one realization, whether each has its own or all share one.

    `rank`: how many axes it has within a realization. Raises `InputError` if it is missing.
    """
    values = variable(dataset, name)
    return values[realization] if values.ndim > rank else values


def drawing_of(dataset: xr.Dataset, realization: int, ends: np.ndarray) -> Drawing:
    """Where to draw one realization, whose edges join the nodes `ends`, `(M, 2)`.

    Nodes lie at `positions` where the dataset has them, those of node networks on a circle.
    """
    nodes = int(dataset.attrs.get("num_nodes", ends.max(initial=-1) + 1))
    positions, box = (
        of_realization(dataset, name, realization, rank=rank) if name in dataset else None
        for name, rank in (("positions", 2), ("box", 1))
    )
    layout: Literal["circle", "forces"] = "circle" if kind_of(dataset).is_matrix else "forces"
    return drawing(ends, nodes, positions=positions, box=box, layout=layout)


# Of networks whose class is not registered.
_UNKNOWN = NetworkKind(
    tag="",
    name="network",
    strength="conductance",
    strengths="conductances",
    coordinate="state",
    force="force",
)


def kind_of(dataset: xr.Dataset) -> NetworkKind:
    """What is known of the kind of networks in a dataset."""
    return dataset_kind(dataset) or _UNKNOWN


def strength_label(dataset: xr.Dataset) -> str:
    """What `k` is called in this kind of network, with its unit."""
    kind = kind_of(dataset)
    return f"{kind.strength} {kind.symbol} (simulation units)"


def node_roles(dataset: xr.Dataset, realization: int, nodes: int) -> dict[str, np.ndarray]:
    """Which of `nodes` nodes are grounded, driven and read out in a realization, `(N,)` booleans by role.

    Read from `task_boundary`, `task_values`, `task_force` and `task_readout`; of what is missing nothing is
    marked. A row of the boundary that reaches over many nodes projects out a free motion and grounds none.
    """

    def touched(name: str) -> np.ndarray:
        """`(rows, N)`: nodes that each row of the variable acts on, rounding errors aside."""
        if name not in dataset:
            return np.zeros((0, nodes), bool)
        rows = np.abs(variable(dataset, name)[realization])
        rows = rows.reshape(len(rows), nodes, rows.shape[1] // nodes).max(axis=2, initial=0.0)
        return rows > 1e-9 * rows.max(axis=1, keepdims=True, initial=0.0)

    held = touched("task_boundary")
    driven = np.zeros(len(held), bool)
    if "task_values" in dataset:
        values = variable(dataset, "task_values")[realization]
        driven[: values.shape[1]] = values.any(axis=0)
    # Rows that project out free motions reach over many nodes; a ground is one node.
    grounds = held[~driven & (held.sum(axis=1) == 1)]
    return {
        "grounded": grounds.any(axis=0),
        "driven": touched("task_force").any(axis=0) | held[driven].any(axis=0),
        "read out": touched("task_readout").any(axis=0),
    }
