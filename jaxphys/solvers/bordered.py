"""Solving `[[H, Cᵀ], [C, 0]] [x; λ] = [F; d]` by one factorisation for many right-hand sides.

The protocol of all solvers. Work is split as lineax does: a plan, made once; `factor`, once for every H;
`solve`, for as many columns as there are. `solve_bordered` ties the two together and is what everything else
calls; it differentiates through the solution, never through the factorisation.
"""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxphys._checks import described, require
from jaxphys.solvers.constraints import AnyConstraints


class Bonds(NamedTuple):
    """A Hessian by its edges: `H = Σᵢ kᵢ Bᵢᵀ Bᵢ` with `Bᵢ x = directionsᵢ (x_s - x_t)`.

    - `k`: `(M,)`. `edges`: `(M, 2)` the nodes s and t that each edge joins; an edge from a node to itself
      carries nothing. `directions`: `(M, q, d)`, which q combinations of the d components of the difference
      an edge feels; for a weighted Laplacian one, 1.
    """

    k: Float[Array, " M"]
    edges: Int[Array, "M 2"]
    directions: Float[Array, "M q d"]


class Solution(NamedTuple):
    """Solutions for m columns of right-hand sides, and what they are worth.

    - `x`, `reaction`: the solutions.
    - `residual`: backward error of the worst column, the largest entry of `H x + Cᵀλ - F` and `C x - d` over
      the size of the terms that cancel in it.
    - `definite`: whether H is positive definite where C leaves it free.
    - `doubt`: how far one step of iterative refinement would move x, of its largest entry, in the worst
      column: about the condition number times a rounding error, and so what x may be wrong by; or the
      solver's `pivot_error_bound`, if that is more. Zero where the solver `is_relative`.
    - `reaction_doubt`: `(m,)` the same of the reaction, its largest entry, in its own units, with a rounding
      error of all that cancels in `C⁺ᵀ (F - H x)` and, unless the solver `is_relative`, in all of `F - H x`.
    """

    x: Float[Array, "n m"]
    reaction: Float[Array, "c m"]
    residual: Float[Array, ""]
    definite: Bool[Array, ""]
    doubt: Float[Array, ""]
    reaction_doubt: Float[Array, " m"]


class Reply(NamedTuple):
    """What `AbstractSolver.respond` finds for m columns of forces and held values.

    - `x`: `(n, m)` states. `outputs`: `(o, m)` what the readout reads of them.
    - `strains`: `(M, m)` what each edge feels of them; None where that is several numbers.
    - `residual`, `doubt`, `definite`: as in `Solution`.
    - `planned`: whether the plan was made for these edges, rows and terminals, and k lies within its range;
      otherwise the numbers mean nothing.
    """

    x: Float[Array, "n m"]
    outputs: Float[Array, "o m"]
    strains: Float[Array, "M m"] | None
    residual: Float[Array, ""]
    doubt: Float[Array, ""]
    definite: Bool[Array, ""]
    planned: Bool[Array, ""]


@runtime_checkable
class _HasStructure(Protocol):
    @property
    def structure(self) -> str: ...


@runtime_checkable
class _HasEdges(Protocol):
    @property
    def edges(self) -> Int[Array, "*R M 2"]: ...


@runtime_checkable
class _HasRows(Protocol):
    @property
    def rows(self) -> Float[Array, "*R c n"]: ...


@runtime_checkable
class NetworkLike(Protocol):
    """What a plan reads of a network, or of stacked ones: see `AbstractNetwork`."""

    @property
    def kind(self) -> _HasStructure: ...
    @property
    def topology(self) -> _HasEdges: ...
    @property
    def num_coordinates(self) -> int: ...
    def strain_directions(self) -> Float[Array, "*R M q d"]: ...


@runtime_checkable
class TaskLike(Protocol):
    """What a plan reads of a task, or of stacked ones: see `Task`."""

    @property
    def boundary(self) -> _HasRows: ...
    @property
    def force(self) -> Float[Array, "*R s n"]: ...
    @property
    def readout(self) -> Float[Array, "*R o n"]: ...


Solver = TypeVar("Solver", bound="AbstractSolver")


class AbstractSolver(eqx.Module):
    """A way to solve `[[H, Cᵀ], [C, 0]] [x; λ] = [F; d]` for many columns F and d at once.

    Three steps: a plan, made once on the host from what does not change while a network learns (`for_task`;
    the solver is the plan); `factor`, once for every H; `solve`, for all columns. `solve_bordered` calls
    them, makes the result differentiable to any order, and measures what it is worth. So the methods of a
    solver need no derivatives, but `jit` and `vmap` must go through them.

    **Class attributes**

    - `structures`: the structures of networks (`NetworkKind.structure`) that it is made for; None for all.
    - `is_planned`: whether it holds a plan for one boundary and graph (or an ensemble of them).
    - `has_room`: whether plans for several ensembles can be padded to one shape, for one compiled program.
    - `is_tracked`: whether `train` carries what it knows from one step to the next.
    - `on_host`: whether it works outside of compiled programs only, by `rest` in place of `factor` and
      `solve`.

    A solver that does better with edges than with H also offers `respond`, which `jaxphys.respond` prefers
    where `can_respond` says so.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> class ByInverse(jp.solvers.AbstractSolver):
    ...     "The inverse of H: for boundaries that hold nothing."
    ...     is_relative = False
    ...     def factor(self, hessian, constraints):
    ...         return jnp.linalg.inv(hessian)
    ...     def solve(self, factors, hessian, constraints, force, values):
    ...         return factors @ force, values
    ...     def is_definite(self, factors):
    ...         return jnp.all(jnp.linalg.eigvalsh(factors) > 0)
    >>> network = jp.NodeNetwork([2.0, 0.0, 4.0])
    >>> jp.equilibrate(network, jp.Boundary(network), [1.0, 1.0], solver=ByInverse()).x.tolist()
    [0.5, 0.25]
    """

    structures: ClassVar[tuple[str, ...] | None] = None
    is_planned: ClassVar[bool] = False
    has_room: ClassVar[bool] = False
    is_tracked: ClassVar[bool] = False
    on_host: ClassVar[bool] = False

    @classmethod
    def for_task(cls: type[Solver], network: NetworkLike, task: TaskLike) -> Solver:
        """The solver for a network and its task, or for stacked ensembles of both. Runs on the host.

        Raises `InputError` where it is not made for such a network or boundary.
        """
        cls.check(network, task)
        return cls()

    @classmethod
    def check(cls, network: NetworkLike, task: TaskLike) -> None:
        """Raise `InputError` unless these are a network and a task (or ensembles) that this solver serves."""
        must = f"be {' or '.join(cls.structures or ())} for `{cls.__name__}`"
        check_planned_for(network, task, cls.structures, must)

    @property
    def is_shared(self) -> bool:
        """Whether it serves each realization of an ensemble alike, and any number of them."""
        return True

    @property
    @abstractmethod
    def is_relative(self) -> bool:
        """Whether x comes out to rounding however ill-conditioned the system is."""

    @abstractmethod
    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> PyTree[Array]:
        """Whatever `solve` needs of H, as a pytree of arrays."""

    @abstractmethod
    def solve(
        self,
        factors: PyTree[Array],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        """`(x, λ)` for every column of right-hand sides; NaN or anything where H is not positive definite."""

    @abstractmethod
    def is_definite(self, factors: PyTree[Array]) -> Bool[Array, ""]:
        """Whether H is positive definite where C leaves it free."""

    def pivot_error_bound(
        self, factors: PyTree[Array], hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        """Relative error of the worst pivot by rounding; zero if the solver `is_relative`.

        A pivot is what is left of a sum that was rounded: of stiffnesses that met in an entry of H, of
        entries that met in C's basis. No solution knows of that, however well it fits H.
        """
        return jnp.zeros((), hessian.dtype)

    def inverse(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Float[Array, "n n"]:
        """x for a unit force on each coordinate in turn, every row of C held at zero."""
        n, dtype = len(hessian), hessian.dtype
        held = jnp.zeros((constraints.num_rows, n), dtype)
        return solve_bordered(self, hessian, constraints, jnp.eye(n, dtype=dtype), held).x

    def can_respond(self, structure: str) -> bool:
        """Whether `respond` serves networks of this `NetworkKind.structure`."""
        return False

    def respond(
        self,
        bonds: Bonds,
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
        readout: Float[Array, "o n"],
    ) -> Reply:
        """States, strains and readouts for m columns, from edges in place of H; only where `can_respond`.

        It need not be differentiable: `jaxphys.respond` takes the way through `solve_bordered` for
        derivatives.
        """
        raise NotImplementedError(f"{type(self).__name__} has `factor` and `solve` only.")

    def rest(
        self,
        bonds: Bonds,
        constraints: AnyConstraints,
        force: Float[np.ndarray, "n m"],
        values: Float[np.ndarray, "c m"],
    ) -> Solution:
        """Solutions for m columns, from edges in place of H and in NumPy; only where `on_host`."""
        raise NotImplementedError(f"{type(self).__name__} has `factor` and `solve` only.")


def check_planned_for(
    network: Any,  # Whatever was handed in: what it has is asked below.
    task: Any,
    structures: tuple[str, ...] | None = None,
    must: str = "",
    argument: str = "network",
) -> None:
    """Raise `InputError` unless these are a network and its task, or stacked ensembles of both.

    And, about `argument`, unless the network has one of the `structures`; `must` says in words which.
    """
    is_network = hasattr(network, "kind") and hasattr(network, "num_coordinates")
    require(
        is_network, "network", "be a network, or an ensemble of `jp.stack`", f"it is {described(network)}"
    )
    is_served = structures is None or network.kind.structure in structures
    require(is_served, argument, must, f"it is a {type(network).__name__}")
    is_task = all(hasattr(task, name) for name in ("boundary", "force", "readout"))
    require(is_task, "task", "be a task, or an ensemble of `jp.stack`", f"it is {described(task)}")
    n, found = network.num_coordinates, task.readout.shape[-1]
    made_for = f"be made for this network of {n} coordinates"
    require(found == n, "task", made_for, f"it was made for one of {found}")


def solve_bordered(
    solver: AbstractSolver,
    hessian: Float[Array, "n n"],
    constraints: AnyConstraints,
    force: Float[Array, "n m"],
    values: Float[Array, "c m"],
) -> Solution:
    """Solve `[[H, Cᵀ], [C, 0]] [x; λ] = [F; d]` for m columns.

    Derivatives of any order with respect to `H`, `F` and `d` follow from the implicit
    function theorem and reuse the same factors (`jax.lax.custom_linear_solve`).
    """
    constant = jax.lax.stop_gradient(hessian)
    factors = solver.factor(constant, constraints)
    rows = constraints.rows

    n = hessian.shape[0]

    def bordered(solution: Array) -> Array:
        x, reaction = solution[:n], solution[n:]
        return jnp.concatenate([hessian @ x + rows.T @ reaction, rows @ x])

    def solve(_: object, right_side: Array) -> Array:
        return jnp.concatenate(solver.solve(factors, constant, constraints, right_side[:n], right_side[n:]))

    # Force and values travel as one array: the transpose rule wants all right-hand sides linear, or none.
    right_side = jnp.concatenate([force, values])
    solution = jax.lax.custom_linear_solve(bordered, right_side, solve, symmetric=True)
    x, reaction = solution[:n], solution[n:]
    epsilon = jnp.finfo(hessian.dtype).eps
    doubt = jnp.zeros(force.shape[1], hessian.dtype)
    # Terms that cancel in `C⁺ᵀ (F - H x)`, by rows of C.
    lift, terms = jnp.abs(constraints.lift.T), jnp.abs(constant) @ jnp.abs(x) + jnp.abs(force)
    reaction_doubt = epsilon * jnp.max(lift @ terms, axis=0, initial=0.0)
    if not solver.is_relative:
        gap = jax.lax.stop_gradient(right_side - bordered(solution))
        refined = jnp.abs(solve(None, gap))
        moved = jnp.max(refined[:n], axis=0)
        # Entries of H were rounded when they were added up: on every coordinate that acts as a force, which
        # what is held takes up in the end. Refinement does not see it.
        stray = epsilon * jnp.max(lift, initial=0.0) * jnp.sum(terms, axis=0)
        reaction_doubt = reaction_doubt + jnp.max(refined[n:], axis=0, initial=0.0) + stray
        # Columns by themselves: a large one says nothing of a small one beside it. A state of zero is
        # measured against what its forces would do if nothing held it.
        tiny = jnp.finfo(hessian.dtype).tiny
        alone = jnp.max(jnp.abs(force), axis=0) / (jnp.max(jnp.abs(constant)) + tiny)
        size = jnp.max(jnp.abs(x), axis=0) + alone
        bound = solver.pivot_error_bound(factors, constant, constraints)
        doubt = jnp.maximum(moved / (size + tiny), bound)
    doubt, reaction_doubt = jax.lax.stop_gradient((doubt, reaction_doubt))
    residual = _backward_error(hessian, rows, x, reaction, force, values)
    worst = jnp.max(doubt, initial=0.0)
    return Solution(x, reaction, residual, solver.is_definite(factors), worst, reaction_doubt)


def _backward_error(
    hessian: Float[Array, "n n"],
    rows: Float[Array, "c n"],
    x: Float[Array, "n m"],
    reaction: Float[Array, "c m"],
    force: Float[Array, "n m"],
    values: Float[Array, "c m"],
) -> Float[Array, ""]:
    """The backward error of the worst column, each on its own scale."""

    def largest(array: Array) -> Array:
        return jnp.max(jnp.abs(array), axis=0, initial=0.0)

    balance = largest(hessian @ x + rows.T @ reaction - force)
    # Pinning, projecting and factoring mix all entries: what cancels is as large as the largest of them.
    terms = jnp.max(jnp.abs(hessian)) * largest(x) + largest(jnp.abs(rows.T) @ jnp.abs(reaction))
    held = largest(rows @ x - values)
    # A held value of zero cancels against the whole state, not against the entries that it reads; and a state
    # of zero against what its forces would do if nothing held it.
    tiny = jnp.finfo(hessian.dtype).tiny
    state = largest(x) + largest(force) / (jnp.max(jnp.abs(hessian)) + tiny)
    size = jnp.max(jnp.abs(rows), initial=0.0) * state + largest(values)
    return jnp.max(jnp.maximum(balance / (terms + largest(force) + tiny), held / (size + tiny)), initial=0.0)
