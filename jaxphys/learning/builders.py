"""Tasks by what they ask for: allostery, regression, classification, random constraints."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array, Key

from jaxphys._checks import check_count, check_indices, check_key, check_number, described, require, to_array
from jaxphys.equilibrium import Boundary, check_boundary
from jaxphys.learning.costs import AbstractCost, CrossEntropy
from jaxphys.learning.task import Task
from jaxphys.networks.physics import AbstractNetwork, Node, check_single

# A node, or a pair of nodes.
Terminal = Node | tuple[Node, Node]


def random_linear(network: AbstractNetwork, num_tasks: int, key: Key[Array, ""]) -> Task:
    """Random linear constraints `Aᵣ·xᵣ + Bᵣ = 0` under random forces (Stern et al. (2023), eq. A1).

    Every component of `Fᵣ`, `Aᵣ` and `Bᵣ` is drawn from N(0, 1); nothing is held, so the network
    needs a positive definite Hessian. Sample r is task r. Costs are summed.

    Raises `InputError` if `num_tasks` is not positive.
    """
    check_single(network)
    check_count("num_tasks", num_tasks)
    check_key("key", key)
    keys = jax.random.split(key, 3)
    n, dtype = network.num_coordinates, network.k.dtype
    force, readout = (jax.random.normal(k, (num_tasks, n), dtype) for k in keys[:2])
    offsets = jax.random.normal(keys[2], (num_tasks,), dtype)
    return Task(
        Boundary(network, free_modes="project"),
        force=force,
        readout=readout,
        targets=-np.diag(offsets),
        weights=np.eye(num_tasks),
    )


def allostery(
    network: AbstractNetwork,
    boundary: Boundary,
    sources: Sequence[Terminal],
    targets: Sequence[Terminal],
    *,
    response: float | Sequence[float],
    amplitude: float = 1.0,
    source_directions: np.ndarray | None = None,
    target_directions: np.ndarray | None = None,
) -> Task:
    """A response at each target to an input at its source.

    Stern et al. (2023), appendix A; Guzman et al. (2024), fig. 6. A terminal is a node or a pair of nodes.
    Where the boundary holds nothing that can be driven (`boundary.num_held == 0`), sources take forces or
    currents: into the node, or into one node of a pair and out of the other. Otherwise every held row is a
    source in turn, in order, and `sources` must be empty. Task r pairs source r with target r; a single
    source serves all targets at once. Costs are summed over tasks.

    **Arguments**

    - `response`: wanted output, one for all targets or one each; springs respond along
      `target_directions`, `(targets, d)` unit vectors (needed for node targets in 2-D and 3-D,
      and likewise `source_directions`).
    - `amplitude`: of the force, or of the held value.

    Raises `InputError` on an empty task, nodes that do not exist, or an output that is held.
    """
    _check_terminals(network, boundary, sources, targets)
    check_number("amplitude", amplitude)
    require(len(targets) > 0, "targets", "name at least one target", "the task is empty")
    require(np.isfinite(amplitude), "amplitude", "be finite", f"it is {amplitude}")
    wanted = to_array("response", response, float)
    require(
        wanted.shape in ((), (len(targets),)),
        "response",
        f"be one number or {len(targets)}, one for each target",
        f"its shape is {wanted.shape}",
    )
    wanted = np.broadcast_to(wanted, (len(targets),))
    readout = terminal_rows(network, targets, target_directions, "targets")
    if boundary.num_held:
        require(
            len(sources) == 0,
            "sources",
            "be empty where the boundary holds the inputs",
            f"it has {len(sources)}",
        )
        force, values = None, amplitude * np.eye(boundary.num_held)
        number = boundary.num_held
    else:
        require(len(sources) > 0, "sources", "name at least one source", "the task is empty")
        force, values = amplitude * terminal_rows(network, sources, source_directions, "sources"), None
        number = len(sources)
    require(
        number in (1, len(targets)),
        "sources",
        f"be one, or one for each of the {len(targets)} targets",
        f"there are {number}",
    )
    if number == 1:
        return Task(boundary, force=force, values=values, readout=readout, targets=wanted[None])
    return Task(
        boundary, force=force, values=values, readout=readout, targets=np.diag(wanted), weights=np.eye(number)
    )


def regression(
    network: AbstractNetwork,
    boundary: Boundary,
    sources: Sequence[Terminal],
    targets: Sequence[Terminal],
    *,
    matrix: object,
    inputs: object,
) -> Task:
    """Outputs linear in the inputs, `y = matrix @ u`.

    Stern et al. (2023), eq. A2; Guzman et al. (2024), eqs 1 and 22.

    **Arguments**

    - `sources`: terminals that take the inputs as forces; empty if the boundary's held rows take
      them as values. `targets`: terminals read out.
    - `matrix`: `(o, s)`. `inputs`: `(R, s)` samples.

    The cost is the mean squared error over samples. Raises `InputError` as `Task` does.
    """
    _check_terminals(network, boundary, sources, targets)
    inputs, matrix = to_array("inputs", inputs, float), to_array("matrix", matrix, float)
    force, values = _drive(network, boundary, sources)
    number = boundary.num_held or len(sources)
    require(
        matrix.shape == (len(targets), number),
        "matrix",
        f"have shape ({len(targets)}, {number}), outputs by inputs",
        f"its shape is {matrix.shape}",
    )
    require(
        inputs.ndim == 2 and inputs.shape[1] == number and len(inputs) > 0,
        "inputs",
        f"have shape (samples, {number})",
        f"its shape is {inputs.shape}",
    )
    return Task(
        boundary,
        force=force,
        values=values,
        inputs=inputs,
        readout=terminal_rows(network, targets, argument="targets"),
        targets=inputs @ matrix.T,
        reduction="mean",
    )


def classification(
    network: AbstractNetwork,
    boundary: Boundary,
    sources: Sequence[Terminal],
    targets: Sequence[Terminal],
    *,
    features: object,
    labels: object,
    cost: AbstractCost | None = None,
) -> Task:
    """Classes shown by the largest output (Stern et al. (2023), fig. 7c; Guzman et al. (2024), fig. 5b).

    **Arguments**

    - `sources`: terminals that take the features as forces; empty if the boundary's held rows
      take them as values. `targets`: one terminal for each of two classes or more.
    - `features`: `(R, s)`. `labels`: `(R,)` class numbers from 0.
    - `cost`: `CrossEntropy()` by default. Averaged over samples.

    Raises `InputError` as `Task` does, and on a label without an output.
    """
    _check_terminals(network, boundary, sources, targets)
    labels = np.asarray(labels)
    require(len(targets) > 1, "targets", "name two classes or more", "there is one class")
    require(labels.size > 0, "features", "hold at least one sample", "the task is empty")
    check_indices("labels", labels, len(targets), "classes")
    force, values = _drive(network, boundary, sources)
    return Task(
        boundary,
        force=force,
        values=values,
        inputs=to_array("features", features, float),
        readout=terminal_rows(network, targets, argument="targets"),
        targets=np.eye(len(targets))[labels],
        cost=CrossEntropy() if cost is None else cost,
        reduction="mean",
    )


def terminal_rows(
    network: AbstractNetwork,
    terminals: Sequence[Terminal],
    directions: np.ndarray | None = None,
    argument: str = "terminals",
) -> np.ndarray:
    """`(terminals, n)` rows that read (or drive) nodes and pairs of nodes.

    A node of a spring network needs its unit vector in `directions`, `(terminals, d)`. Raises `InputError`
    about `argument`.
    """
    require(
        not isinstance(terminals, str), argument, "be a list of nodes or pairs", f"it is {terminals!r:.50}"
    )
    if directions is not None:
        directions = np.asarray(directions, dtype=float)
        shape = (len(terminals), network.dimension)
        require(
            directions.shape == shape, "directions", f"have shape {shape}", f"its shape is {directions.shape}"
        )
    rows = []
    for i, terminal in enumerate(terminals):
        numbers = network.node_numbers(terminal, argument)
        if numbers.ndim == 0:
            require(
                network.dimension == 1 or directions is not None,
                "directions",
                "give a unit vector for each node, which has several coordinates",
                "there are none",
            )
            direction = np.ones((1, 1)) if directions is None else directions[i : i + 1]
            rows.append(network.node_rows(numbers[None], direction)[0])
        else:
            require(
                numbers.shape == (2,), argument, "hold nodes or pairs of nodes", f"it holds {terminal!r:.50}"
            )
            first, second = numbers.tolist()
            joined = f"one joins {network.node_names[first]} to itself"
            require(first != second, argument, "join different nodes", joined)
            rows.append(network.drop_row(first, second))
    require(np.isfinite(rows).all(), argument, "join nodes that are apart", "two of them coincide")
    return np.array(rows).reshape(-1, network.num_coordinates)


def _check_terminals(
    network: AbstractNetwork, boundary: Boundary, sources: Sequence[Terminal], targets: Sequence[Terminal]
) -> None:
    """What builders of tasks are handed before all else."""
    check_boundary(network, boundary)
    for name, terminals in (("sources", sources), ("targets", targets)):
        is_list = hasattr(terminals, "__len__") and not isinstance(terminals, str | Mapping)
        require(is_list, name, "be a list of nodes or pairs of nodes", f"it is {described(terminals)}")


def _drive(
    network: AbstractNetwork, boundary: Boundary, sources: Sequence[Terminal]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Unit forces on `sources`, or unit values of the held rows: `(force, values)`, one of them None."""
    if boundary.num_held:
        require(
            len(sources) == 0,
            "sources",
            "be empty where the boundary holds the inputs",
            f"it has {len(sources)}",
        )
        return None, np.eye(boundary.num_held)
    require(len(sources) > 0, "sources", "name at least one source", "the task is empty")
    return terminal_rows(network, sources, argument="sources"), None
