"""Large networks at rest, once: on the host, by their edges, in memory that grows with them alone.

What is held is put in exactly: nodes that held drops tie together are one unknown and their offsets. The
rest is one sparse factorisation (SuperLU), or conjugate gradients where that would fill in, and refinement:
x is kept as an unevaluated sum of two floats and its residual is summed up from the drops of the edges, so
that digits which rounding took from the diagonal of H come back.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NoReturn

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxphys._checks import InputError
from jaxphys.solvers.block_plan import grounded_coordinates
from jaxphys.solvers.bordered import AbstractSolver, Bonds, Solution
from jaxphys.solvers.constraints import AnyConstraints

if TYPE_CHECKING:
    from scipy.sparse import csc_array

_EPSILON = float(np.finfo(float).eps)
# Columns that solve the unknowns for right-hand sides, and what pivots may have lost to rounding.
_Inverse = Callable[[np.ndarray], np.ndarray]


class SparseLU(AbstractSolver):
    """One-off equilibria of flow and spring networks of any size, by sparse factorisation on the host.

    `equilibrate` takes it by itself for large networks outside of `jit`, `vmap` and `grad`, where no other
    solver can; it serves nothing else. For flow networks every boundary is solved, for springs those that
    hold nodes or project out motions (no drops).

    Conductances may lie fourteen decades apart: a forward bound, `H⁻¹` times what rounding may have left
    of the balance of currents, says when that is not kept (Higham 2002, *Accuracy and Stability of Numerical
    Algorithms*, section 7.2; the inverse of a grounded flow network has no negative entries). Spring networks
    are judged as `Dense` judges them, by their last correction and their pivots.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> divider = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    >>> held = jp.Boundary(divider, held_nodes=[0], ground=[2])
    >>> jp.equilibrate(divider, held, values=jnp.array([1.0]), solver=jp.SparseLU()).x.round(3).tolist()
    [1.0, 0.25, 0.0]
    """

    structures: ClassVar[tuple[str, ...] | None] = ("laplacian", "pairwise")
    on_host: ClassVar[bool] = True

    @property
    def is_relative(self) -> bool:
        return False

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> NoReturn:
        _refuse()

    def solve(
        self,
        factors: PyTree[Array],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> NoReturn:
        _refuse()

    def is_definite(self, factors: PyTree[Array]) -> NoReturn:
        _refuse()

    def rest(
        self,
        bonds: Bonds,
        constraints: AnyConstraints,
        force: Float[np.ndarray, "n m"],
        values: Float[np.ndarray, "c m"],
    ) -> Solution:
        """Solutions for m columns, found in float64 and returned in the precision of k.

        `force` and `values` are those of all coordinates and all rows.

        Raises `InputError` where springs have held drops.
        """
        system = _System(*map(np.asarray, (bonds.k, bonds.directions, bonds.edges)), size=force.shape[0])
        rows = _Rows(constraints, system.dimension)
        return _at_rest(system, rows, np.asarray(force, float), np.asarray(values, float), bonds.k.dtype)

    def is_rigid(
        self, directions: Float[Array, "M q d"], edges: Int[Array, "M 2"], constraints: AnyConstraints
    ) -> bool:
        """Whether springs on these edges resist every motion that the rows leave free.

        Told by the pivots of equal springs: motions that are resisted a hundred roundings weakly are not
        distinguished from free ones.
        """
        rows = _Rows(constraints, directions.shape[-1])
        parts = np.ones(len(edges)), np.asarray(directions), np.asarray(edges)
        inverse, pivot_error = _factored(_System(*parts, size=len(rows.unknown)), rows)
        return inverse is not None and pivot_error < 1e-2


def _refuse() -> NoReturn:
    raise InputError(
        "Argument `solver` must work inside of compiled programs here, but `SparseLU` works on the host; it "
        "serves `equilibrate` outside of `jit`, `vmap` and `grad`."
    )


class _System:
    """Edges that there are, and the sums over them."""

    def __init__(self, k: np.ndarray, directions: np.ndarray, edges: np.ndarray, *, size: int):
        from scipy.sparse import csr_array

        is_edge = edges[:, 0] != edges[:, 1]
        self.k = k[is_edge].astype(float)
        self.directions = directions[is_edge].astype(float)
        self.edges = edges[is_edge].astype(np.int64)
        self.size, self.dimension = size, directions.shape[-1]
        count, q, d = self.directions.shape
        self.coordinates = d * self.edges[:, :, None] + np.arange(d)
        columns = np.broadcast_to(self.coordinates[:, None], (count, q, 2, d))
        entries = np.stack([self.directions, -self.directions], axis=2)
        starts = np.arange(count * q + 1) * 2 * d
        shape = (count * q, size)
        self.strains_of = csr_array((entries.ravel(), columns.ravel(), starts), shape=shape)
        self.forces_of = self.strains_of.T.tocsr()
        self.all_positive = bool((self.k >= 0).all())
        blocks = np.einsum("m,mqi,mqj->mij", self.k, self.directions, self.directions)
        self.blocks = blocks
        sizes = np.abs(blocks).sum(axis=2)
        self.terms = 2 * np.bincount(
            self.coordinates.ravel(), np.stack([sizes, sizes], axis=1).ravel(), minlength=size
        )
        diagonal = np.einsum("mii->mi", blocks)
        self.largest = np.bincount(
            self.coordinates.ravel(), np.stack([diagonal, diagonal], axis=1).ravel(), minlength=size
        ).max(initial=0.0)
        self.degree = np.bincount(self.coordinates.ravel(), minlength=size)

    def tensions(self, high: np.ndarray, low: np.ndarray | float = 0.0) -> np.ndarray:
        """`k` times strain of every edge, `(M q, m)`, from a state in two parts; differences come first."""
        first, second = self.coordinates[:, 0], self.coordinates[:, 1]
        difference = high[first] - high[second]
        if isinstance(low, np.ndarray):
            difference += low[first] - low[second]
        strains = np.einsum("mqd,mdc->mqc", self.directions, difference)
        return (self.k[:, None, None] * strains).reshape(-1, high.shape[1])


class _Rows:
    """What the rows of a boundary hold: a forest of coordinates, and motions that are projected out.

    `steps` are `(coordinate, parent, row, sign)` from the roots on: x there is that of the parent (-1 is what
    is at rest) plus sign times the row's value. `unknown`: `(n,)` number of every coordinate's unknown, -1
    where it is held.
    """

    def __init__(self, constraints: AnyConstraints, dimension: int):
        self.places, self.entries, self.motions, self.count = constraints.sparse_parts()
        self.steps, tops = _forest(self.places, self.entries, self.motions.shape[1], dimension)
        own = np.arange(len(tops))
        roots = np.where(tops < 0, own, tops)
        unknown = _numbered(roots == own)[roots]
        if len(self.motions):
            kept = np.ones(unknown.max() + 1, bool)
            kept[unknown[grounded_coordinates(self.motions[None])[0]]] = False
            unknown = _numbered(kept)[unknown]
        self.unknown = unknown

    @property
    def num_unknowns(self) -> int:
        return int(self.unknown.max(initial=-1)) + 1

    def offsets(self, values: np.ndarray) -> np.ndarray:
        """`(n, m)` what is held, unknowns at zero."""
        x = np.zeros((len(self.unknown), values.shape[1]))
        for coordinate, parent, row, sign in self.steps:
            x[coordinate] = sign * values[row] + (x[parent] if parent >= 0 else 0.0)
        return x

    def gathered(self, force: np.ndarray) -> np.ndarray:
        """`(u, m)` sums of what acts on the coordinates of every unknown."""
        total = np.zeros((self.num_unknowns + 1, force.shape[1]))
        np.add.at(total, self.unknown, force)
        return total[:-1]

    def spread(self, unknowns: np.ndarray) -> np.ndarray:
        return np.concatenate([unknowns, np.zeros((1, unknowns.shape[1]))])[self.unknown]

    def reactions(self, left: np.ndarray, force: np.ndarray, *, absolute: bool = False) -> np.ndarray:
        """Multipliers that carry what is left of the balance at coordinates that are held or tied.

        `absolute` adds up what cancels in them.
        """
        found, left = np.zeros((self.count + len(self.motions), left.shape[1])), left.copy()
        for coordinate, parent, row, sign in reversed(self.steps):
            found[row] = left[coordinate] if absolute else sign * left[coordinate]
            if parent >= 0:
                left[parent] += left[coordinate]
        found[self.count :] = (abs(self.motions) if absolute else self.motions) @ force
        return found

    def read(self, x: np.ndarray) -> np.ndarray:
        """`C x`."""
        found = np.zeros((self.count, x.shape[1]))
        np.add.at(found, self.places[:, 0], self.entries[:, None] * x[self.places[:, 1]])
        return np.concatenate([found, self.motions @ x])

    def act(self, reaction: np.ndarray, *, absolute: bool = False) -> np.ndarray:
        """`Cᵀ λ`, or `|C|ᵀ |λ|`."""
        entries, motions = self.entries, self.motions
        if absolute:
            entries, motions, reaction = abs(entries), abs(motions), abs(reaction)
        total = motions.T @ reaction[self.count :]
        np.add.at(total, self.places[:, 1], entries[:, None] * reaction[self.places[:, 0]])
        return total


def _numbered(chosen: np.ndarray) -> np.ndarray:
    """Numbers of the chosen from 0 on, -1 for the others and for one more behind the last."""
    return np.append(np.where(chosen, np.cumsum(chosen) - 1, -1), -1)


def _forest(
    places: np.ndarray, entries: np.ndarray, size: int, dimension: int
) -> tuple[list[tuple[int, int, int, float]], np.ndarray]:
    """Steps of `_Rows`, and the root that every coordinate is tied to: -1 itself, n what is at rest."""
    tops = np.full(size, -1)
    rows: dict[int, list[tuple[int, float]]] = {}
    for (row, coordinate), entry in zip(places.tolist(), entries.tolist(), strict=True):
        rows.setdefault(row, []).append((coordinate, entry))
    steps: list[tuple[int, int, int, float]] = []
    ties: dict[int, list[tuple[int, int, float]]] = {}
    for row, ends in rows.items():
        if len(ends) == 1:
            (coordinate, _), *_ = ends
            steps.append((coordinate, -1, row, 1.0))
            tops[coordinate] = size
        elif dimension == 1:
            (a, _), (b, _) = sorted(ends, key=lambda end: -end[1])
            ties.setdefault(a, []).append((b, row, -1.0))
            ties.setdefault(b, []).append((a, row, 1.0))
        else:
            raise InputError(
                "Argument `solver` must hold drops between nodes of springs, but `SparseLU` does not; "
                "use `Dense()`."
            )
    starts = [*(step[0] for step in steps), *ties]
    seen = {step[0] for step in steps}
    for start in starts:
        if start not in ties or (start in seen and tops[start] != size):
            continue
        seen.add(start)
        stack, top = [start], size if tops[start] == size else start
        while stack:
            node = stack.pop()
            for other, row, sign in ties[node]:
                if other not in seen:
                    seen.add(other)
                    steps.append((other, node, row, sign))
                    tops[other] = top
                    stack.append(other)
    return steps, tops


def _at_rest(
    system: _System, rows: _Rows, force: np.ndarray, values: np.ndarray, dtype: np.dtype
) -> Solution:
    def solution(*numbers: np.ndarray | float, definite: bool) -> Solution:
        x, reaction, residual, doubt, reaction_doubt = (jnp.asarray(each, dtype) for each in numbers)
        return Solution(x, reaction, residual, jnp.asarray(definite), doubt, reaction_doubt)

    balanced = force - rows.motions.T @ (rows.motions @ force)
    inverse, pivot_error = (None, np.inf) if not np.isfinite(system.k).all() else _factored(system, rows)
    if inverse is None:
        nothing = np.full((rows.count + len(rows.motions), force.shape[1]), np.nan)
        unknown = np.full(force.shape[1], np.nan)
        return solution(np.full(force.shape, np.nan), nothing, np.nan, np.nan, unknown, definite=False)
    with np.errstate(invalid="ignore", over="ignore"):
        high, low, moved = _refined(system, rows, inverse, balanced, values)
        if len(rows.motions):
            high, low = _added(high, low, -rows.motions.T @ (rows.motions @ high + rows.motions @ low))
        tensions = system.tensions(high, low)
        left = balanced - system.forces_of @ tensions
        reaction = rows.reactions(left, force)
        tiny = float(np.finfo(float).tiny)
        alone = np.abs(force).max(axis=0, initial=0.0) / (system.largest + tiny)
        size = np.abs(high).max(axis=0, initial=0.0) + alone
        if system.dimension == 1 and system.all_positive:
            # Currents are rounded, and so are their sums; H⁻¹ has no negative entries.
            rounded = (system.degree[:, None] + 4) * (abs(system.forces_of) @ abs(tensions)) + abs(force)
            wrong = np.abs(inverse(rows.gathered(_EPSILON * rounded))).max(axis=0, initial=0.0)
            moved, pivot_error = np.maximum(moved, wrong), 0.0
        doubt = max(float(np.max(moved / (size + tiny), initial=0.0)), pivot_error)
        # What either end of an edge would drive alone.
        sizes, ends = np.repeat(abs(system.k), system.directions.shape[1]), abs(system.forces_of)
        terms = ends @ (sizes[:, None] * (ends.T @ abs(high))) + abs(balanced)
        reaction_doubt = _EPSILON * rows.reactions(terms, abs(force), absolute=True).max(axis=0, initial=0.0)
        residual = _residual(system, rows, high, reaction, force, values)
        return solution(high, reaction, residual, doubt, reaction_doubt, definite=True)


_MOST_STEPS = 12


def _refined(
    system: _System, rows: _Rows, inverse: _Inverse, force: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A state in two parts, and how far its last correction moved it; infinite where they do not shrink."""
    high = rows.offsets(values)
    low = np.zeros_like(high)
    before, moved = np.full(high.shape[1], np.inf), np.zeros(high.shape[1])
    for step in range(_MOST_STEPS):
        left = force - system.forces_of @ system.tensions(high, low)
        correction = rows.spread(inverse(rows.gathered(left)))
        moved = np.abs(correction).max(axis=0, initial=0.0)
        size = np.abs(high).max(axis=0, initial=0.0)
        high, low = _added(high, low, correction)
        # The first correction is the solution itself.
        if step and (moved <= 0.25 * _EPSILON * size).all():
            break
        if step > 1 and (moved > 0.25 * before)[moved > _EPSILON * size].any():
            break
        before = moved
    return high, low, moved


def _added(high: np.ndarray, low: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums in two parts, without the rounding error of the first (Knuth's two-sum)."""
    total = high + change
    part = total - high
    low = low + ((high - (total - part)) + (change - part))
    final = total + low
    return final, low - (final - total)


def _factored(system: _System, rows: _Rows) -> tuple[_Inverse | None, float]:
    """What solves for the unknowns, and its `pivot_error_bound`; None where not all pivots are positive."""
    from scipy.sparse.linalg import splu

    matrix = _matrix(system, rows)
    size = matrix.shape[0]
    if size == 0:
        return (lambda right: right), 0.0
    joined = (matrix.nnz - size) / 2
    if system.dimension == 1 and system.all_positive and size > _MANY and joined > 1.3 * size:
        found = _by_gradients(matrix)
        if found is not None:
            return found, 0.0
    try:
        factors = splu(
            matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
    except RuntimeError:
        # Exactly singular.
        return None, np.inf
    pivots = factors.U.diagonal()[factors.perm_c]
    if not (pivots > 0).all() or not np.array_equal(factors.perm_r, factors.perm_c):
        return None, np.inf
    terms = rows.gathered(system.terms[:, None])[:, 0]
    return factors.solve, _EPSILON * float(np.max(terms / pivots))


def _matrix(system: _System, rows: _Rows) -> "csc_array":
    """H of the unknowns, in columns; what joins coordinates of one unknown is left out."""
    from scipy.sparse import coo_array

    ends = rows.unknown[system.coordinates]
    first, second = ends[:, 0], ends[:, 1]
    blocks = system.blocks
    if system.dimension == 1:
        apart = first[:, 0] != second[:, 0]
        first, second, blocks = first[apart], second[apart], blocks[apart]
    at, to, entries = [], [], []
    for a, b, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
        i, j = np.broadcast_arrays(a[:, :, None], b[:, None, :])
        both = (i >= 0) & (j >= 0)
        at.append(i[both])
        to.append(j[both])
        entries.append(sign * blocks[both])
    shape = (rows.num_unknowns, rows.num_unknowns)
    places = np.concatenate(at), np.concatenate(to)
    return coo_array((np.concatenate(entries), places), shape=shape).tocsc()


# Unknowns from which on factors of graphs that are no chains or planes fill in.
_MANY, _FEW_STEPS = 4000, 120


def _by_gradients(matrix: "csc_array") -> _Inverse | None:
    """Conjugate gradients, if they settle in few steps, as on graphs whose nodes are all close."""
    from scipy.sparse import dia_array
    from scipy.sparse.linalg import cg

    scale = dia_array((1 / matrix.diagonal()[None], [0]), shape=matrix.shape)

    def solve(right: np.ndarray) -> np.ndarray:
        columns = []
        for column in right.T:
            found, failed = cg(matrix, column, rtol=1e-8, maxiter=10 * _FEW_STEPS, M=scale)
            columns.append(np.full_like(found, np.nan) if failed else found)
        return np.stack(columns, axis=1) if columns else right

    start = np.random.default_rng(0).normal(size=matrix.shape[0])
    _, failed = cg(matrix, start, rtol=1e-8, maxiter=_FEW_STEPS, M=scale)
    return None if failed else solve


def _residual(
    system: _System, rows: _Rows, x: np.ndarray, reaction: np.ndarray, force: np.ndarray, values: np.ndarray
) -> float:
    """Backward error of the worst column, as `jaxphys.State` has it."""

    def largest(array: np.ndarray) -> np.ndarray:
        return np.max(np.abs(array), axis=0, initial=0.0)

    tiny = float(np.finfo(float).tiny)
    balance = largest(system.forces_of @ system.tensions(x) + rows.act(reaction) - force)
    terms = system.largest * largest(x) + largest(rows.act(reaction, absolute=True))
    held = largest(rows.read(x) - values)
    state = largest(x) + largest(force) / (system.largest + tiny)
    entries = max(np.abs(rows.entries).max(initial=0.0), np.abs(rows.motions).max(initial=0.0))
    size = entries * state + largest(values)
    worst = np.maximum(balance / (terms + largest(force) + tiny), held / (size + tiny))
    return float(np.max(worst, initial=0.0))
