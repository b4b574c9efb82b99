"""Learning rules: local estimates of `∂C/∂k`.

A contrastive rule compares a free state with a clamped one, in which an extra force acts on
the outputs only, and changes every edge by the difference of its own energy,
`(eᵢ(x_clamped) - eᵢ(x_free)) / η`. In a linear network the clamped state is
`x_C = x_F + η Σ_o a_o G Aᵀ_o`, so a rule is fully described by the output forces `η a` that it
applies: minus the cost gradient (equilibrium propagation), that gradient at the nudged state
(cost added to the energy), or whatever holds the outputs at their clamped values (coupled
learning). The difference of energies is taken as `eᵢ'(x_F)·δ + eᵢ(δ)` with `δ = x_C - x_F`,
which loses no digits at small η.
"""

from abc import abstractmethod
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import check_kind, check_number, is_concrete, require
from jaxphys.equilibrium import Status
from jaxphys.learning.response import Response, respond
from jaxphys.learning.task import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver

# A number, or an array to trace: then one compiled program serves all η, and `vmap` sweeps them.
Nudge = float | Float[Array, ""]


class Estimate(eqx.Module):
    """What a rule measures in one step.

    - `gradient`: `(M,)` estimate of `∂C/∂k`, to be handed to an optax transformation.
    - `cost`: the learning cost of the free state.
    - `residual`, `status`: of the solution, as in `State`. They speak of the states; what that leaves of
      small entries of a gradient is bounded by `ExactGradient.error_bound`.
    """

    gradient: Float[Array, " M"]
    cost: Float[Array, ""]
    residual: Float[Array, ""]
    status: Int[Array, ""]


class AbstractRule(eqx.Module):
    """A learning rule, `rule(network, task) -> Estimate`: a local estimate of `∂C/∂k`.

    A subclass says which contrasts it measures (`contrasts`): which forces on the outputs, `(R, o)`, clamp
    each sample. Differences of energies, sums over samples, cost and status follow. Rules are pytrees: their
    numbers may be traced and stacked, `(R,)` for one of each realization.
    """

    @abstractmethod
    def contrasts(
        self, response: Response, task: Task
    ) -> tuple[list["Contrast"], Bool[Array, ""] | Int[Array, ""]]:
        """The contrasts that make up the estimate, and how their clamped states were found.

        That is a `Status`, or whether they were found: False is `NOT_CONVERGED`.
        """

    def __call__(
        self, network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
    ) -> Estimate:
        """Estimate `∂C/∂k` on all samples of `task`; jit, vmap and grad go through.

        >>> import jaxphys as jp
        >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
        >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.5)
        >>> jp.ExactGradient()(network, task).gradient[1].round(3).item()
        -0.5
        """
        return self.estimate(network, task, respond(network, task, solver=solver))

    def estimate(self, network: AbstractNetwork, task: Task, response: Response) -> Estimate:
        """The same from a `Response` at hand, which several rules can share."""
        return self.measure(network, task, response)[0]

    def measure(
        self, network: AbstractNetwork, task: Task, response: Response
    ) -> tuple[Estimate, Float[Array, "c o"]]:
        """The estimate, and `(s + o, o)` moments by which its gradient pairs all terminals with outputs.

        The gradient of edge i is `Σ_ab moment_ab x_aᵀ Qᵢ adjoint_b` over the states x of inputs and outputs.
        """
        contrasts, found = self.contrasts(response, task)
        clamped = jnp.asarray(found)
        if clamped.dtype == bool:
            clamped = jnp.where(clamped, Status.OK, Status.NOT_CONVERGED)
        clamped = clamped.astype(jnp.int32)
        mixed, quadratic = _energy_differences(task, contrasts)
        gradient = response.edge_moment(network, mixed, quadratic)
        cost = jnp.sum(task.sample_costs(response.outputs))
        status = jnp.where(response.status != 0, response.status, clamped)
        status = jnp.where((status == 0) & ~jnp.isfinite(cost + jnp.sum(gradient)), Status.NOT_FINITE, status)
        estimate = Estimate(
            task.sample_weight * gradient,
            task.sample_weight * cost,
            response.residual,
            status.astype(jnp.int32),
        )
        quadratic = jnp.zeros_like(response.coupling) if quadratic is None else quadratic
        return estimate, task.sample_weight * jnp.concatenate([mixed, quadratic])


class Contrast(eqx.Module):
    """One clamped state per sample, under the output forces `nudge * forces`.

    Its energy difference `e(x_C) - e(x_F)` enters the estimate divided by `nudge` and
    multiplied by `weight`. `nudge = None` is the limit of small nudges.
    """

    forces: Float[Array, "R o"]
    nudge: Nudge | None = None
    weight: float = 1.0


def _energy_differences(
    task: Task, contrasts: list[Contrast]
) -> tuple[Float[Array, "s o"], Float[Array, "o o"] | None]:
    """`Σ weight (e(x_C) - e(x_F)) / nudge` over contrasts and samples, as second moments.

    The first pairs input terminals with outputs, the second outputs with outputs; that is None in the
    limit of small nudges.
    """
    forces = (contrast.weight * contrast.forces for contrast in contrasts)
    mixed = task.inputs.T @ sum(forces, start=jnp.zeros_like(task.targets))
    quadratic = [
        (0.5 * contrast.weight * contrast.nudge) * contrast.forces.T @ contrast.forces
        for contrast in contrasts
        if contrast.nudge is not None
    ]
    return mixed, sum(quadratic[1:], start=quadratic[0]) if quadratic else None


class ExactGradient(AbstractRule):
    """The gradient itself, `∂C/∂kᵢ = x_Fᵀ Qᵢ G F^O` with `F^O = -∇ₓC`: the limit of small nudges.

    Stern et al. (2023), eqs 10 and 16. It needs no clamped state: the free states and one adjoint state for
    each output are in `Response`.
    """

    def contrasts(self, response: Response, task: Task) -> tuple[list[Contrast], Int[Array, ""]]:
        return [Contrast(-task.cost_gradients(response.outputs))], jnp.asarray(Status.OK, jnp.int32)

    def error_bound(self, network: AbstractNetwork, task: Task, response: Response) -> Float[Array, " M"]:
        """How far each entry of the gradient may be off, to first order in the errors of the states.

        With states wrong by up to `e_a` in each entry (`Response.error` of their size; if the solver does
        not tell, `2 ε^0.4`, what `Status.OK` promises), `|Qᵢ x|₁` of `edge_reach` and moments `m_ab` of the
        samples,

            |δgᵢ| ≤ Σ_ab |m_ab| (e_a |Qᵢ z_b|₁ + e_b |Qᵢ x_a|₁ + 4 d e_a e_b) + |δm_ab| |x_aᵀ Qᵢ z_b| ,

        with `δm` what the outputs' errors make of the cost's gradient, and roundings. Entries of the gradient
        that are smaller than their bound may have no digit right. Apart from training: an `(s, o, M)` array.

        >>> import jaxphys as jp
        >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 1e4])
        >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.5)
        >>> rule, response = jp.ExactGradient(), jp.respond(network, task)
        >>> bound = rule.error_bound(network, task, response)
        >>> bool((bound < 0.01 * abs(rule.estimate(network, task, response).gradient).max()).all())
        True
        """
        columns = jnp.concatenate([response.drive, response.adjoint])
        epsilon = float(jnp.finfo(columns.dtype).eps)
        error = 2 * epsilon**0.4 if response.error is None else response.error
        stiffest = jnp.max(jnp.abs(network.hessian())) + jnp.finfo(columns.dtype).tiny
        forces = jnp.concatenate([task.force, task.readout])
        size = jnp.max(jnp.abs(columns), axis=1) + jnp.max(jnp.abs(forces), axis=1) / stiffest
        drive_error, adjoint_error = jnp.split(error * size, [len(response.drive)])
        # Outputs, output forces and moments.
        inputs, reads = jnp.abs(task.inputs), jnp.sum(jnp.abs(task.readout), axis=1)
        forces_error = jnp.einsum(
            "rop,rp->ro",
            jnp.abs(task.cost_curvatures(response.outputs)),
            (inputs @ drive_error)[:, None] * reads + epsilon * jnp.abs(task.targets),
        )
        forces = jnp.abs(task.cost_gradients(response.outputs))
        terms = len(task.inputs) + response.coupling.shape[0] * len(response.drive) + 8
        moment_error = inputs.T @ (forces_error + terms * epsilon * forces)
        moment = jnp.abs(task.inputs.T @ task.cost_gradients(response.outputs)) + moment_error
        form = jnp.abs(network.edge_form(response.drive[:, None], response.adjoint[None]))
        form_error = (
            drive_error[:, None, None] * network.edge_reach(response.adjoint)
            + network.edge_reach(response.drive)[:, None] * adjoint_error[:, None]
            + 4 * network.dimension * (drive_error[:, None] * adjoint_error)[..., None]
            + terms * epsilon * form
        )
        whole = jnp.einsum("so,som->m", moment, form_error) + jnp.einsum("so,som->m", moment_error, form)
        return task.sample_weight * whole


class EquilibriumPropagation(AbstractRule):
    """Nudge the outputs down the cost gradient (Stern et al. (2023), eqs 5-11).

    **Attributes**

    - `nudge`: η > 0, a number or a scalar array.
    - `symmetric`: average the estimates at +η and -η instead of +η alone.
    - `mode`: `"force"` applies the constant output force `-η ∇ₓC(x_F)` of eq. 5; `"energy"` adds
      `η C` to the energy (eq. 7), so that the force is taken at the clamped state itself,
      which is found by Newton's method in the outputs.

    The error is O(η) one-sided. Symmetric, it is O(η²) for `"energy"` and vanishes for `"force"`,
    since the energies are quadratic. An `"energy"` estimate whose Newton iteration does not
    converge carries `Status.NOT_CONVERGED`; one whose clamped state is no minimum of `E + η C`, or not
    the one to which the network relaxes from its free state, `Status.NOT_POSITIVE_DEFINITE`: at -η, say,
    where η times the curvature of the cost exceeds the stiffness that an output feels, `1 / G_TT`. Raises
    `InputError` if η is not positive.
    """

    nudge: Nudge = 1e-3
    symmetric: bool = eqx.field(static=True, default=False)
    mode: Literal["force", "energy"] = eqx.field(static=True, default="force")

    def __check_init__(self) -> None:
        _check_nudge(self.nudge)
        check_kind("symmetric", self.symmetric, bool, "True or False")
        require(self.mode in ("force", "energy"), "mode", 'be "force" or "energy"', f"it is {self.mode!r}")

    def contrasts(self, response: Response, task: Task) -> tuple[list[Contrast], Int[Array, ""]]:
        nudges = (self.nudge, -self.nudge) if self.symmetric else (self.nudge,)
        contrasts, status = [], jnp.asarray(Status.OK, jnp.int32)
        for nudge in nudges:
            if self.mode == "force":
                forces = -task.cost_gradients(response.outputs)
            else:
                forces, found = _implicit_forces(response, task, nudge)
                status = jnp.maximum(status, found.astype(jnp.int32))
            contrasts.append(Contrast(forces, nudge, 1 / len(nudges)))
        return contrasts, status


class CoupledLearning(AbstractRule):
    """Hold the outputs at `y_F + η (t - y_F)` (Guzman et al. (2024), appendix D).

    As η → 0 this is equilibrium propagation with the error `t - y` replaced by
    `G_TT⁻¹ (t - y)`, `G_TT` the outputs' block of the Green's function: aligned with the cost
    gradient, not equal to it, and it needs no cost function to be applied (the targets say it
    all). Only outputs with nonzero task weight are held. Outputs that follow from others (the three
    drops around a triangle) need no force of their own where their targets agree, to half the digits;
    where these disagree, or where `G_TT` is ill-conditioned, the estimate carries `Status.INACCURATE`.
    Where free modes are projected out the clamp acts with them projected out too: the mean stays where
    it is and what the clamp drives in leaves evenly through all nodes. Published code drops the ½ of the
    energies when its Hessian is `2 Δᵀ k Δ`. Raises `InputError` if η is not positive.
    """

    nudge: Nudge = 1e-3

    def __check_init__(self) -> None:
        _check_nudge(self.nudge)

    def contrasts(self, response: Response, task: Task) -> tuple[list[Contrast], Int[Array, ""]]:
        forces, accurate = _holding_forces(response, task)
        return [Contrast(forces, self.nudge)], jnp.where(accurate, Status.OK, Status.INACCURATE)


def _holding_forces(response: Response, task: Task) -> tuple[Float[Array, "R o"], Bool[Array, ""]]:
    """Forces on the outputs that take each by `t - y`, those of weight zero left alone: `G_TT a = t - y`.

    And whether they can be trusted.
    """
    coupling, errors = response.coupling, task.targets - response.outputs
    most = _largest_pivot_error(coupling.dtype)
    if task.weights is None and not task.dependent:
        factor, pivot_error = _factored(coupling)
        return jax.scipy.linalg.cho_solve((factor, True), errors.T).T, pivot_error <= most
    wanted = jnp.ones_like(errors, dtype=bool) if task.weights is None else task.weights > 0
    # Samples that stand for many (`Task.condensed`) may be nothing but what rounding left of them.
    epsilon, sizes = float(jnp.finfo(errors.dtype).eps), jnp.abs(task.targets) + jnp.abs(response.outputs)
    rounding = epsilon**0.5 * sizes + 1e2 * epsilon * jnp.max(sizes, axis=0)

    def hold(error: Array, rounding: Array, wanted: Array) -> tuple[Array, Array]:
        held = task.independent_outputs(wanted, coupling) if task.dependent else wanted
        block = jnp.where(held[:, None] & held, coupling, jnp.eye(len(held), dtype=coupling.dtype))
        factor, pivot_error = _factored(block)
        accurate = pivot_error <= most
        forces = jax.scipy.linalg.cho_solve((factor, True), jnp.where(held, error, 0))
        if task.dependent:
            # What follows from held outputs is where it is wanted already, or cannot be held there.
            shares = jax.scipy.linalg.cho_solve((factor, True), jnp.where(held[:, None], coupling, 0))
            gaps = jnp.where(wanted & ~held, error - coupling @ forces, 0)
            accurate &= jnp.all(jnp.abs(gaps) <= rounding + jnp.abs(shares).T @ rounding)
        return forces, accurate

    forces, accurate = jax.vmap(hold)(errors, rounding, wanted)
    return forces, jnp.all(accurate)


def _factored(coupling: Float[Array, "o o"]) -> tuple[Float[Array, "o o"], Float[Array, ""]]:
    """Cholesky factor of `G_TT`, and the relative error of its worst pivot by rounding.

    How far it is from symmetric tells how well it is known.
    """
    factor = jax.lax.linalg.cholesky(coupling, symmetrize_input=False)
    constant = jax.lax.stop_gradient(coupling)
    known = jnp.finfo(coupling.dtype).eps * jnp.diagonal(constant)
    known = jnp.maximum(known, jnp.max(jnp.abs(constant - constant.T), axis=0))
    return factor, jnp.max(known / jax.lax.stop_gradient(jnp.diagonal(factor)) ** 2)


def _largest_pivot_error(dtype: np.dtype) -> float:
    """The relative error of a pivot that is accepted, as in a state at rest (`equilibrium.judged`)."""
    return float(jnp.finfo(dtype).eps) ** 0.4


def _implicit_forces(
    response: Response, task: Task, nudge: Nudge
) -> tuple[Float[Array, "R o"], Int[Array, ""]]:
    """Output forces `a = -C'(y_C)` at the clamped outputs `y_C = y_F + η A G Aᵀ a`.

    Stern et al. (2023), eq. 7. And their status: Newton's method finds where forces balance, be it a minimum
    or not.
    """
    coupling = response.coupling
    identity = jnp.eye(coupling.shape[0], dtype=coupling.dtype)

    def newton(_: int | Array, outputs: Array) -> Array:
        gaps = outputs - response.outputs + nudge * task.cost_gradients(outputs) @ coupling
        slopes = identity + nudge * coupling @ task.cost_curvatures(outputs)
        return outputs - jnp.linalg.solve(slopes, gaps[..., None])[..., 0]

    # Quadratic costs are done after one iteration; the others double their digits in each.
    before = jax.lax.fori_loop(0, 9, newton, response.outputs)
    outputs = newton(9, before)
    scale = jnp.max(jnp.abs(response.outputs) + jnp.abs(outputs), axis=-1)
    moved = jnp.max(jnp.abs(outputs - before), axis=-1)
    converged = jnp.all(moved <= 1e4 * jnp.finfo(outputs.dtype).eps * scale)
    stable = _is_stable(response, task, nudge, outputs)
    status = jnp.where(stable, Status.OK, Status.NOT_POSITIVE_DEFINITE)
    return -task.cost_gradients(outputs), jnp.where(converged, status, Status.NOT_CONVERGED)


def _is_stable(response: Response, task: Task, nudge: Nudge, outputs: Float[Array, "R o"]) -> Bool[Array, ""]:
    """Whether `E + η C` has its minimum at the clamped outputs, and curves upwards all the way to them.

    Its Hessian `H + η Aᵀ C'' A` is positive definite if and only if `1 + η Lᵀ C'' L` is, with `G_TT = L Lᵀ`.
    Where it is so from the free state on, the state that was found is the one to which a network relaxes.
    """
    values, modes = jnp.linalg.eigh(jax.lax.stop_gradient(response.coupling))
    root = modes * jnp.sqrt(jnp.maximum(values, 0))
    path = jnp.stack([response.outputs, 0.5 * (response.outputs + outputs), outputs])
    # What is above the diagonal counts for nothing.
    nudged = nudge * root.T @ jax.vmap(task.cost_curvatures)(jax.lax.stop_gradient(path)) @ root
    factors = jax.lax.linalg.cholesky(jnp.eye(len(root), dtype=root.dtype) + nudged, symmetrize_input=False)
    pivots, terms = (jnp.diagonal(each, axis1=-2, axis2=-1) for each in (factors, nudged))
    # A pivot within rounding of what was added up to it may be of either sign.
    return jnp.all(pivots**2 > (1 + jnp.abs(terms)) * jnp.finfo(root.dtype).eps ** 0.6)


def _check_nudge(nudge: Nudge) -> None:
    if is_concrete(nudge):
        check_number("nudge", nudge)
    require(not is_concrete(nudge) or nudge > 0, "nudge", "be positive (it is η)", f"it is {nudge}")
