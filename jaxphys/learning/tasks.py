"""What a network is asked to do: inputs, readout, targets, cost.

Inputs enter through few terminals, so the response of a network to any number of samples
follows from its response to one unit of each terminal. `respond` computes that, from one
factorisation, and every learning rule and cost Hessian is built on it.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxphys._checks import (
    check_count,
    check_indices,
    check_key,
    check_kind,
    check_number,
    described,
    is_concrete,
    refuse,
    require,
    to_array,
)
from jaxphys.equilibrium import (
    Boundary,
    Status,
    check_boundary,
    check_precision,
    check_solver,
    judged,
    solve_columns,
    state_error,
)
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, Node, SpringNetwork, check_single
from jaxphys.solvers import AbstractSolver, SparseCholesky, StarMesh, strain_moment

# A node, or a pair of nodes.
Terminal = Node | tuple[Node, Node]


class AbstractCost(eqx.Module):
    """The cost of one sample as a function of its outputs. Any differentiable function will do."""

    @abstractmethod
    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        """Cost of one sample with `o` outputs."""


class SquaredError(AbstractCost):
    """`½ Σ_o w_o (y_o - t_o)²`: with `reduction="mean"` the MSE of paper A's eq. 4 and paper B's eq. 6."""

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        return 0.5 * jnp.sum(weights * (outputs - targets) ** 2)


class CrossEntropy(AbstractCost):
    """`-Σ_o t_o log softmax(β y)_o` with inverse temperature β and one-hot (or soft) targets.

    Physical outputs are small, so β sets the scale on which one output beats another.
    """

    inverse_temperature: float = eqx.field(static=True, default=100.0)

    def __check_init__(self) -> None:
        value = self.inverse_temperature
        check_number("inverse_temperature", value)
        is_finite = 0 < value < np.inf
        require(is_finite, "inverse_temperature", "be positive and finite", f"it is {value}")

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        # Outputs without weight take no part in the competition.
        logits = jnp.where(weights > 0, self.inverse_temperature * outputs, -jnp.inf)
        shares = jnp.where(weights > 0, jax.nn.log_softmax(logits), 0)
        return -jnp.sum(weights * targets * shares)


class CosineDistance(AbstractCost):
    """`1 - cos(y, t) = ½ |ŷ - t̂|²`, the angle between outputs and targets (paper B, eq. 23).

    NaN where outputs or targets are all zero, which point nowhere; 0 where no output has weight.
    """

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        # A sample without weight is taken as any other, and its value left out: derivatives of 0/0 are NaN
        # even where nobody wants them.
        counts = jnp.any(weights > 0)
        weights, outputs, targets = (jnp.where(counts, each, 1) for each in (weights, outputs, targets))
        norms = jnp.sqrt(jnp.sum(weights * outputs**2)) * jnp.sqrt(jnp.sum(weights * targets**2))
        return jnp.where(counts, 1 - jnp.sum(weights * outputs * targets) / norms, 0)


class Task(eqx.Module):
    """Inputs, readout, targets and cost for one network.

    With s terminals, R samples and o outputs, sample r applies the forces
    `Σ_s inputs[r, s] force[s]` and the held values `Σ_s inputs[r, s] values[s]`, and its
    outputs are `y_r = readout x_r`. The cost is the sum or mean over r of
    `cost(y_r, targets[r], weights[r])`.

    **Attributes**

    - `boundary`: what is held; `force` `(s, n)` and `values` `(s, h)`: one unit of each terminal.
    - `inputs`: `(R, s)`. `readout`: `(o, n)`. `targets`: `(R, o)`.
    - `weights`: `(R, o)`, or None for all ones. Zero: this output does not belong to this sample.
    - `cost`: what one sample costs, `SquaredError()` by default.
    - `reduction`: `"sum"` (gradients of `Σ_r C_r`, as paper A's rules) or `"mean"` (as both papers' costs).
    - `dependent`: whether outputs follow from one another whatever the network (the three drops around a
      triangle, or a node read twice). Found from the readout and what is held.

    Raises `InputError` on an empty task, shapes that do not fit, values that are not finite, or an
    output that is also held.
    """

    boundary: Boundary
    force: Float[Array, "s n"]
    values: Float[Array, "s h"]
    inputs: Float[Array, "R s"]
    readout: Float[Array, "o n"]
    targets: Float[Array, "R o"]
    weights: Float[Array, "R o"] | None
    cost: AbstractCost
    reduction: Literal["sum", "mean"] = eqx.field(static=True)
    dependent: bool = eqx.field(static=True)

    def __init__(
        self,
        boundary: Boundary,
        *,
        readout: Any,
        targets: Any,
        inputs: Any = None,
        force: Any = None,
        values: Any = None,
        weights: Any = None,
        cost: AbstractCost | None = None,
        reduction: Literal["sum", "mean"] = "sum",
    ):
        check_kind("boundary", boundary, Boundary, "a `Boundary`")
        if cost is not None:
            check_kind("cost", cost, AbstractCost, "a cost, as `SquaredError()`")
        dtype = boundary.rows.dtype
        n = boundary.rows.shape[-1]
        require(force is not None or values is not None, "force", "be given, or `values`", "neither is")
        if force is None:
            force = np.zeros((len(values), n))
        if values is None:
            values = np.zeros((len(force), boundary.num_held))
        arrays = {"force": force, "values": values, "readout": readout, "targets": targets}
        arrays["inputs"] = np.eye(len(force)) if inputs is None else inputs
        arrays = {name: to_array(name, array, dtype) for name, array in arrays.items()}
        if weights is not None:
            arrays["weights"] = to_array("weights", weights, dtype)
        _check_task(arrays, n, boundary)
        require(reduction in ("sum", "mean"), "reduction", 'be "sum" or "mean"', f"it is {reduction!r}")
        self.boundary = boundary
        self.force = jnp.asarray(arrays["force"])
        self.values = jnp.asarray(arrays["values"])
        self.inputs = jnp.asarray(arrays["inputs"])
        self.readout = jnp.asarray(arrays["readout"])
        self.targets = jnp.asarray(arrays["targets"])
        self.weights = None if weights is None else jnp.asarray(arrays["weights"])
        self.cost = SquaredError() if cost is None else cost
        self.reduction = reduction
        self.dependent = _are_dependent(self.readout, boundary)

    @classmethod
    def alike(cls, tasks: Sequence["Task"]) -> list["Task"]:
        """The same tasks, all `dependent` if one is: what `stack` needs."""
        if len({task.dependent for task in tasks}) == 1:
            return list(tasks)
        copies = [jax.tree.map(lambda leaf: leaf, task) for task in tasks]
        for copy in copies:
            object.__setattr__(copy, "dependent", True)
        return copies

    @property
    def num_samples(self) -> int:
        """R."""
        return self.inputs.shape[-2]

    def with_samples(
        self,
        inputs: Float[Array, "R s"],
        targets: Float[Array, "R o"],
        weights: Float[Array, "R o"] | None = None,
    ) -> "Task":
        """The same terminals, readout and cost on other samples (a test set, a minibatch)."""
        return eqx.tree_at(
            lambda task: (task.inputs, task.targets, task.weights),
            self,
            (inputs, targets, weights),
            is_leaf=lambda leaf: leaf is None,
        )

    def batch(self, indices: Int[Array, " b"]) -> "Task":
        """The task on a subset of its samples."""
        weights = None if self.weights is None else self.weights[indices]
        return self.with_samples(self.inputs[indices], self.targets[indices], weights)

    def condensed(self) -> "Task":
        """The same sums over samples from at most `s + o` of them, where the cost is quadratic; else itself.

        Costs and updates are then quadratic in inputs and targets and know samples by their second moments
        alone, which a QR factorisation keeps, `[U T] = Q R`: the rows of R take the samples' place, exactly.
        For `SquaredError` without weights.
        """
        samples = jnp.concatenate([self.inputs, self.targets], axis=-1)
        count, size = samples.shape[-2:]
        if not isinstance(self.cost, SquaredError) or self.weights is not None or count <= size:
            return self
        # A mean over fewer samples counts each of them more.
        scale = (size / count) ** 0.5 if self.reduction == "mean" else 1.0
        rows = scale * jnp.linalg.qr(samples, mode="r")
        return self.with_samples(rows[..., : self.inputs.shape[-1]], rows[..., self.inputs.shape[-1] :])

    def independent_outputs(
        self, held: Bool[Array, " o"], coupling: Float[Array, "o o"]
    ) -> Bool[Array, " o"]:
        """Of the outputs that are `held` at once, as many as do not follow from one another.

        `G_TT = A G Aᵀ` is singular if and only if rows of A depend on one another beside the rows that the
        boundary holds, for G is positive definite there: whatever k is. So elimination of the readouts' own
        Gram matrix tells how many, in which a pivot is the squared sine of an output's angle to those before
        it. Elimination of `coupling`, G_TT, beside it tells which: those that k lets move best.
        """
        constraints = self.boundary.constraints
        directions = _free_directions(jnp, self.readout, constraints.rows, constraints.lift)
        sizes = jnp.diagonal(coupling)

        def eliminate(state: Any, _: Any) -> tuple[Any, None]:
            overlaps, couplings, chosen = state
            fresh = held & ~chosen & (jnp.diagonal(overlaps) > _dependence(coupling.dtype))
            output = jnp.argmax(jnp.where(fresh, jnp.diagonal(couplings) / sizes, -jnp.inf))
            found = fresh[output]

            def without(left: Array) -> Array:
                pivot = jnp.where(found, left[output, output], 1)
                return jnp.where(found, left - jnp.outer(left[output], left[output]) / pivot, left)

            chosen = chosen.at[output].set(chosen[output] | found)
            return (without(overlaps), without(couplings), chosen), None

        start = (directions @ directions.T, coupling, jnp.zeros_like(held))
        return jax.lax.scan(eliminate, start, None, length=len(held))[0][2]

    def sample_costs(self, outputs: Float[Array, "R o"]) -> Float[Array, " R"]:
        """Cost of every sample, `(R,)`."""
        weights = jnp.ones_like(self.targets) if self.weights is None else self.weights
        return jax.vmap(self.cost)(outputs, self.targets, weights)

    def cost_gradients(self, outputs: Float[Array, "R o"]) -> Float[Array, "R o"]:
        """`∂C_r/∂y_r` for every sample; the output force on outputs is minus that (paper A, eq. 5)."""
        weights = jnp.ones_like(self.targets) if self.weights is None else self.weights
        return jax.vmap(jax.grad(self.cost))(outputs, self.targets, weights)

    def cost_curvatures(self, outputs: Float[Array, "R o"]) -> Float[Array, "R o o"]:
        """`∂²C_r/∂y_r∂y_r` for every sample."""
        weights = jnp.ones_like(self.targets) if self.weights is None else self.weights
        return jax.vmap(jax.hessian(self.cost))(outputs, self.targets, weights)

    @property
    def sample_weight(self) -> float:
        """What one sample counts in the cost: 1 for a sum, 1/R for a mean."""
        return 1.0 if self.reduction == "sum" else 1.0 / self.num_samples


class Response(eqx.Module):
    """A network's answer to one unit of each terminal and one unit force on each output.

    - `drive`: `(s, n)` state for one unit of each input terminal.
    - `adjoint`: `(o, n)` state for a unit force on each output, everything held at zero: `G Aᵀ`.
    - `coupling`: `(o, o)` outputs for a unit force on each output: `A G Aᵀ`.
    - `outputs`: `(R, o)` outputs of every sample.
    - `strains`: `(M, s + o)` what the edges of a flow network feel of `drive` and `adjoint`, where a solver
      has it at hand; else None. `shared`: whether all realizations have one graph.
    - `residual`, `status`: as in `State`, the worst over all columns.
    - `error`: how far an entry of a state may be off, over its largest one and what its forces would do if
      nothing held it; None where the solver does not tell.
    """

    drive: Float[Array, "s n"]
    adjoint: Float[Array, "o n"]
    coupling: Float[Array, "o o"]
    outputs: Float[Array, "R o"]
    residual: Float[Array, ""]
    status: Int[Array, ""]
    strains: Float[Array, "M c"] | None = None
    shared: bool = eqx.field(static=True, default=False)
    error: Float[Array, ""] | None = None

    def edge_moment(
        self, network: AbstractNetwork, mixed: Float[Array, "s o"], quadratic: Float[Array, "o o"] | None
    ) -> Float[Array, " M"]:
        """`Σ mixed_ab driveₐᵀ Qᵢ adjoint_b + Σ quadratic_ab adjointₐᵀ Qᵢ adjoint_b` for every edge i.

        `quadratic` None is zero.
        """
        if self.strains is not None:
            zero = jnp.zeros_like(self.coupling)
            moment = jnp.concatenate([mixed, zero if quadratic is None else quadratic])
            return strain_moment(self.strains, moment, shared=self.shared)
        if quadratic is None:
            return network.edge_moment(self.drive, self.adjoint, mixed)
        columns = jnp.concatenate([self.drive, self.adjoint])
        return network.edge_moment(columns, self.adjoint, jnp.concatenate([mixed, quadratic]))


def check_pair(
    network: Any, task: Any, *, ensembles: bool = False, solver: AbstractSolver | None = None
) -> None:
    """Raise `InputError` unless these are a network and a task of its size and precision.

    One of each, or, with `ensembles`, stacked ones as well.
    """
    cure = "a network, or an ensemble of `jp.stack`" if ensembles else "a network"
    check_kind("network", network, AbstractNetwork, cure)
    check_kind("task", task, Task, "a task, or an ensemble of `jp.stack`" if ensembles else "a task")
    if not ensembles:
        check_single(network)
        require(task.targets.ndim == 2, "task", "be one", "it is an ensemble; use `jax.vmap` or `jp.member`")
    check_solver(solver)
    n = network.num_coordinates
    require(
        task.readout.shape[-1] == n,
        "task",
        f"be made for this network of {n} coordinates",
        f"it was made for one of {task.readout.shape[-1]}",
    )
    check_precision("task", network, task.readout)


def respond(network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None) -> Response:
    """Solve for all terminals of a task with one factorisation and `s + o` right-hand sides.

    The number of samples does not matter: free states are `inputs @ drive`, and clamped states
    differ from them by combinations of `adjoint`.
    """
    check_pair(network, task, solver=solver)
    if isinstance(solver, StarMesh) and isinstance(network, FlowNetwork):
        return _respond_by_elimination(network, task, solver)
    if isinstance(solver, SparseCholesky) and isinstance(network, FlowNetwork | SpringNetwork):
        return _respond_by_blocks(network, task, solver)
    return _respond_by_columns(network, task, solver)


def _respond_by_columns(network: AbstractNetwork, task: Task, solver: AbstractSolver | None) -> Response:
    force, values = _right_hand_sides(task)
    found = solve_columns(network.hessian(), task.boundary, force, values, solver)
    drive, adjoint = found.x.T[: len(task.force)], found.x.T[len(task.force) :]
    outputs = task.inputs @ (drive @ task.readout.T)
    coupling = adjoint @ task.readout.T
    return Response(drive, adjoint, coupling, outputs, found.residual, found.status, error=found.error)


def _right_hand_sides(task: Task) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
    """Forces and held values: a column for each input terminal, then one for each output."""
    force = jnp.concatenate([task.force, task.readout]).T
    values = jnp.zeros((task.boundary.rows.shape[0], force.shape[1]), force.dtype)
    return force, values.at[: task.boundary.num_held, : len(task.values)].set(task.values.T)


@eqx.filter_custom_jvp
def _respond_by_elimination(network: FlowNetwork, task: Task, solver: StarMesh) -> Response:
    """The same, with what the hot path of training needs and no Hessian."""
    force, values = _right_hand_sides(task)
    edges, rows = network.topology.edges, task.boundary.rows
    x, strains, outputs, sound, planned = solver.respond(network.k, edges, rows, force, values, task.readout)
    number = len(task.force)
    # Currents that are left over at nodes which nothing holds; compiled away where nobody asks.
    currents = network.k[:, None] * strains
    balance = jnp.zeros_like(x).at[edges[:, 0]].add(currents).at[edges[:, 1]].add(-currents) - force
    balance = balance - rows.T @ (task.boundary.constraints.lift.T @ balance)
    # Currents are differences of what either end would drive alone.
    either = network.k[:, None] * (jnp.abs(x[edges[:, 0]]) + jnp.abs(x[edges[:, 1]]))
    size = jnp.max(either, axis=0, initial=0.0) + jnp.max(jnp.abs(force), axis=0)
    residual = jnp.max(jnp.max(jnp.abs(balance), axis=0) / (size + jnp.finfo(size.dtype).tiny))
    status = jnp.where(sound, Status.OK, Status.NOT_POSITIVE_DEFINITE)
    # Elimination multiplies conductances two by two: where that leaves the range of numbers, they are lost.
    limits, k = jnp.finfo(network.k.dtype), network.k
    smallest, largest = 100 * float(limits.tiny) ** 0.5, 0.01 * float(limits.max) ** 0.5
    fits = jnp.all((k <= 0) | ((k > smallest) & (k < largest)) | ~network.topology.edge_mask)
    # A plan for another graph, boundary or task gives numbers that mean nothing.
    status = jnp.where(planned & fits, status, Status.INACCURATE).astype(jnp.int32)
    return Response(
        x.T[:number],
        x.T[number:],
        outputs[:, number:],
        task.inputs @ outputs[:, :number].T,
        residual,
        status,
        strains,
        solver.shared,
        state_error(jnp.zeros((), x.dtype), len(x)),
    )


@_respond_by_elimination.def_jvp
def _respond_by_elimination_jvp(primals: Any, tangents: Any) -> Any:
    def differentiable(network: FlowNetwork, task: Task, solver: StarMesh) -> Response:
        response = _respond_by_columns(network, task, solver)
        strains = network.strains(jnp.concatenate([response.drive, response.adjoint]))[..., 0].T
        return dataclasses.replace(response, strains=strains, shared=solver.shared)

    return eqx.filter_jvp(differentiable, primals, tangents)


@eqx.filter_custom_jvp
def _respond_by_blocks(network: FlowNetwork | SpringNetwork, task: Task, solver: SparseCholesky) -> Response:
    """The same by sparse Cholesky factorisation, from what edges feel of their ends."""
    force, values = _right_hand_sides(task)
    x, strains, residual, doubt, sound, planned = solver.respond(
        network.k, network.strain_directions(), network.topology.edges, task.boundary.rows, force, values
    )
    number = len(task.force)
    outputs = task.readout @ x
    status = jnp.where(planned, judged(sound, residual, doubt), Status.INACCURATE).astype(jnp.int32)
    return Response(
        x.T[:number],
        x.T[number:],
        outputs[:, number:],
        task.inputs @ outputs[:, :number].T,
        residual,
        status,
        strains[:, 0] if strains.shape[1] == 1 else None,
        solver.shared,
        state_error(doubt, len(x)),
    )


@_respond_by_blocks.def_jvp
def _respond_by_blocks_jvp(primals: Any, tangents: Any) -> Any:
    def differentiable(network: Any, task: Task, solver: SparseCholesky) -> Response:
        response = _respond_by_columns(network, task, solver)
        strains = network.strains(jnp.concatenate([response.drive, response.adjoint]))
        scalar = strains[..., 0].T if strains.shape[-1] == 1 else None
        return dataclasses.replace(response, strains=scalar, shared=solver.shared)

    return eqx.filter_jvp(differentiable, primals, tangents)


def holds_nodes(task: Any) -> bool:
    """Whether every row of the boundary of a task, or of stacked ones, holds a single coordinate."""
    return bool((np.count_nonzero(np.asarray(task.boundary.rows), axis=-1) == 1).all())


def task_cost(
    network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
) -> Float[Array, ""]:
    """The learning cost of a network; differentiable to any order in `network.k`.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.3)
    >>> round(float(jp.task_cost(network, task)), 3)
    0.245
    """
    outputs = respond(network, task, solver=solver).outputs
    return task.sample_weight * jnp.sum(task.sample_costs(outputs))


def accuracy(
    network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
) -> Float[Array, ""]:
    """Fraction of samples whose largest output is the one with the largest target, between 0 and 1.

    Outputs of weight zero do not belong to their sample. Not differentiable. Where outputs tie the first one
    counts; NaN where an output has no value.

    Raises `InputError` unless every sample tells two classes apart: on a task with one output, on a sample
    to which fewer than two belong, and on one whose largest target is not the only one (values are not looked
    at inside `jit`).

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]))
    >>> boundary = jp.Boundary(network, held_nodes=[0], ground=[3])
    >>> task = jp.classification(network, boundary, [], [1, 2], features=[[1.0], [-1.0]], labels=[0, 0])
    >>> jp.accuracy(network, task).item()
    0.5
    """
    check_pair(network, task, solver=solver)
    _check_classes(task)
    response = respond(network, task, solver=solver)
    outputs, targets = response.outputs, task.targets
    if task.weights is not None:
        outputs, targets = (jnp.where(task.weights > 0, each, -jnp.inf) for each in (outputs, targets))
    right = jnp.argmax(outputs, axis=-1) == jnp.argmax(targets, axis=-1)
    has_value = jnp.all(jnp.isfinite(response.outputs))
    return jnp.where(has_value, jnp.mean(right.astype(outputs.dtype)), jnp.nan)


def random_linear(network: AbstractNetwork, num_tasks: int, key: Key[Array, ""]) -> Task:
    """Random linear constraints `Aᵣ·xᵣ + Bᵣ = 0` under random forces (paper A, eq. A1).

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
    """A response at each target to an input at its source (paper A, appendix A; paper B, fig. 6).

    A terminal is a node or a pair of nodes. Where the boundary holds nothing that can be driven
    (`boundary.num_held == 0`), sources take forces or currents: into the node, or into one
    node of a pair and out of the other. Otherwise every held row is a source in turn, in order,
    and `sources` must be empty. Task r pairs source r with target r; a single source serves
    all targets at once. Costs are summed over tasks.

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
    matrix: Any,
    inputs: Any,
) -> Task:
    """Outputs linear in the inputs, `y = matrix @ u` (paper A, eq. A2; paper B, eqs 1 and 22).

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
    features: Any,
    labels: Any,
    cost: AbstractCost | None = None,
) -> Task:
    """Classes told by the largest output (paper A, fig. 7c; paper B, fig. 5b).

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
                "give a unit vector for each node of a spring network",
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


def _check_terminals(network: Any, boundary: Any, sources: Any, targets: Any) -> None:
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


def _free_directions(xp: Any, readout: Any, rows: Any, lift: Any) -> Any:
    """`(o, n)` unit vectors along what each output reads beside the held rows, by NumPy or JAX (`xp`)."""
    left = readout - (readout @ lift) @ rows
    sizes = xp.linalg.norm(left, axis=1, keepdims=True)
    return left / xp.where(sizes > 0, sizes, 1)


def _are_dependent(readout: Array, boundary: Boundary) -> bool:
    """Whether all outputs together are; on the host. `Task.independent_outputs` says which."""
    arrays = (readout, boundary.rows, boundary.constraints.lift)
    directions = _free_directions(np, *(np.asarray(array, dtype=float) for array in arrays))
    try:
        pivots = np.linalg.cholesky(directions @ directions.T).diagonal() ** 2
    except np.linalg.LinAlgError:
        return True
    return bool(pivots.min() <= _dependence(readout.dtype))


def _dependence(dtype: Any) -> float:
    """Squared sine of the angle below which an output counts as following from others."""
    return float(np.finfo(dtype).eps) ** 0.8


def _check_classes(task: Task) -> None:
    """Refuse what does not name one of several classes for every sample."""

    def check(condition: Any, but: str) -> None:
        require(condition, "task", "have a largest target among two or more in each sample", but)

    check(task.targets.shape[-1] > 1, "it has one output")
    if not (is_concrete(task.targets) and is_concrete(task.weights)):
        return
    targets = np.asarray(task.targets)
    if task.weights is not None:
        targets = np.where(np.asarray(task.weights) > 0, targets, -np.inf)
    two = np.sort(targets, axis=-1)[..., -2:]
    few = np.argwhere(two[..., 0] == -np.inf)
    check(not few.size, f"fewer than two outputs belong to sample {few[0][-1] if few.size else 0}")
    ties = np.argwhere(two[..., 0] == two[..., 1])
    check(not ties.size, f"two targets of sample {ties[0][-1] if ties.size else 0} are largest")


def _check_task(arrays: dict[str, np.ndarray], n: int, boundary: Boundary) -> None:
    s, r, o = len(arrays["force"]), len(arrays["inputs"]), len(arrays["readout"])
    require(r > 0 and o > 0 and s > 0, "inputs", "hold at least one sample", "the task is empty")
    shapes = {
        "force": (s, n),
        "values": (s, boundary.num_held),
        "inputs": (r, s),
        "readout": (o, n),
        "targets": (r, o),
        "weights": (r, o),
    }
    for name, array in arrays.items():
        require(
            array.shape == shapes[name], name, f"have shape {shapes[name]}", f"its shape is {array.shape}"
        )
        require(np.isfinite(array).all(), name, "be finite", "it holds NaN or infinity")
    weights = arrays.get("weights", np.zeros(1))
    require((weights >= 0).all(), "weights", "be at least 0", "one is negative")
    rows = np.asarray(boundary.rows, dtype=float)
    if len(rows):
        # What is left of a readout beside the span of the held rows; nothing if it is held.
        basis = np.linalg.qr(rows.T)[0]
        readout = arrays["readout"].astype(float)
        left = np.linalg.norm(readout - readout @ basis @ basis.T, axis=1)
        held = np.flatnonzero(left <= 1e-6 * np.linalg.norm(readout, axis=1))
        if held.size:
            refuse("readout", "read what is free to move", f"output {held[0]} is also held")
