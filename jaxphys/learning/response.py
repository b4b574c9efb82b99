"""How a network answers its task.

Inputs enter through few terminals, so the response of a network to any number of samples
follows from its response to one unit of each terminal. `respond` computes that, from one
factorisation, and every learning rule and cost Hessian is built on it.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxphys._checks import check_kind, is_concrete, require
from jaxphys.equilibrium import (
    Status,
    check_precision,
    check_solver,
    judged,
    solve_columns,
    state_error,
)
from jaxphys.learning.task import Task
from jaxphys.networks.physics import AbstractNetwork, check_single
from jaxphys.solvers import AbstractSolver, Bonds, strain_moment


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
    network: AbstractNetwork, task: Task, *, ensembles: bool = False, solver: AbstractSolver | None = None
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
    if solver is not None and solver.can_respond(network.kind.structure):
        return _respond_by_edges(network, task, solver)
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
def _respond_by_edges(network: AbstractNetwork, task: Task, solver: AbstractSolver) -> Response:
    """The same from edges, without a Hessian: the hot path of training."""
    force, values = _right_hand_sides(task)
    bonds = Bonds(network.k, network.topology.edges, network.strain_directions())
    reply = solver.respond(bonds, task.boundary.constraints, force, values, task.readout)
    number = len(task.force)
    if solver.is_relative:
        # The residual is not asked for: XLA then leaves it out of training steps.
        status = jnp.where(reply.definite, Status.OK, Status.NOT_POSITIVE_DEFINITE)
    else:
        status = judged(reply.definite, reply.residual, reply.doubt)
    # A plan for another graph, boundary or task gives numbers that mean nothing.
    status = jnp.where(reply.planned, status, Status.INACCURATE).astype(jnp.int32)
    return Response(
        reply.x.T[:number],
        reply.x.T[number:],
        reply.outputs[:, number:],
        task.inputs @ reply.outputs[:, :number].T,
        reply.residual,
        status,
        reply.strains,
        solver.is_shared,
        state_error(reply.doubt, len(reply.x)),
    )


@_respond_by_edges.def_jvp
def _respond_by_edges_jvp(
    primals: tuple[AbstractNetwork, Task, AbstractSolver],
    tangents: tuple[AbstractNetwork, Task, AbstractSolver],
) -> tuple[Response, Response]:
    """Derivatives take the way through the Hessian, which `solve_bordered` makes differentiable."""

    def differentiable(network: AbstractNetwork, task: Task, solver: AbstractSolver) -> Response:
        response = _respond_by_columns(network, task, solver)
        strains = network.strains(jnp.concatenate([response.drive, response.adjoint]))
        scalar = strains[..., 0].T if strains.shape[-1] == 1 else None
        return dataclasses.replace(response, strains=scalar, shared=solver.is_shared)

    return eqx.filter_jvp(differentiable, primals, tangents)


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


def _check_classes(task: Task) -> None:
    """Refuse what does not name one of several classes for every sample."""

    def check(condition: object, but: str) -> None:
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
