"""Sparse Cholesky factorisation by blocks, planned once per graph: for spring networks.

Every node has d coordinates and every pair of nodes that is ever joined a `d × d` block. Eliminating a node
a with the block `H_aa = L Lᵀ` leaves `H_ij - H_ai ᵀ H_aa⁻¹ H_aj` between its neighbours; what is kept of
it are the `d × d` blocks `L⁻¹ H_ai`. The order, the fill and the levels are those of `elimination`; the last
nodes, where all touch all, are left to a dense factorisation.
"""

from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxphys._checks import require
from jaxphys.solvers.batching import AbstractPlannedSolver, batched, gather_rows, loop, of_one_width
from jaxphys.solvers.block_plan import (
    Level,
    by_turn,
    core_entries,
    core_inlets,
    core_nodes_of,
    grounded_coordinates,
    kinds_of_rows,
    level_of,
)
from jaxphys.solvers.bordered import Bonds, NetworkLike, Reply, TaskLike, check_planned_for
from jaxphys.solvers.constraints import AnyConstraints
from jaxphys.solvers.elimination import plan_elimination

# Bytes of factors that stay in cache.
_CACHE = 5 << 18


class SparseCholesky(AbstractPlannedSolver):
    """Sparse Cholesky factorisation for spring networks, planned once per graph.

    For boundaries that hold nodes (no drops), or that project out rigid motions, or both. A motion that is
    projected out is stopped by grounding coordinates that see it, under forces that are balanced along it;
    then it is taken out of the solution, `P G_grounded P` being the pseudo-inverse.

    Usually made by `SparseCholesky.for_task(network, task)`. An ensemble on one graph shares one plan.
    Realizations with different graphs are planned side by side; the solver then serves exactly that ensemble,
    in its order, under one `vmap` over all of it.

    **Arguments**

    - `edges`: `(M, 2)`, or `(R, M, 2)` for R realizations; an edge from a node to itself carries nothing.
    - `rows`: the rows of the boundary, `(c, n)` or `(R, c, n)`.
    - `directions`: `(M, q, d)` or `(R, M, q, d)`, what edges feel of the difference between their ends, see
      `SpringNetwork.strain_directions`.

    Raises `InputError` where the boundary holds drops, or where elimination would fill the graph beyond
    `MOST_PRODUCTS`.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    >>> network = jp.SpringNetwork(jp.from_edges([(0, 1), (1, 2), (0, 2)], positions=corners))
    >>> boundary = jp.Boundary(network, ground=[0, 1])
    >>> solver = jp.SparseCholesky(network.topology.edges, boundary.rows, network.strain_directions())
    >>> pull = jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    >>> jp.equilibrate(network, boundary, pull, solver=solver).x.round(3).tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """

    structures: ClassVar[tuple[str, ...] | None] = ("laplacian", "pairwise")

    levels: list[Level]
    core: Int[Array, "G cd"]
    core_blocks: Int[Array, "G cd cd"]
    core_inlets: Int[Array, "e G cd"]
    core_sources: Int[Array, "e G cd"]
    edges: Int[Array, "G M 2"]
    rows: Float[Array, "G c n"]
    held: Int[Array, "G h"]
    motions: Float[Array, "G z n"]
    moving: Bool[Array, "G n"]
    ends: Int[Array, "2 d E"]
    springs: Int[Array, "3 d d E"]
    signs: Int[Array, "3 d d E"]
    entries: Int[Array, "S 3"]
    kept: Bool[Array, " S"]
    pinned: Bool[Array, " S"]
    num_nodes: int = eqx.field(static=True)
    dimension: int = eqx.field(static=True)
    graphs: int = eqx.field(static=True)
    num_pairs: int = eqx.field(static=True)

    def __init__(self, edges: ArrayLike, rows: ArrayLike, directions: ArrayLike):
        edges, rows, directions = np.asarray(edges), np.asarray(rows), np.asarray(directions)
        d = directions.shape[-1]
        size = rows.shape[-1]
        n = size // d
        parts = [
            edges.reshape(-1, *edges.shape[-2:]),
            rows.reshape(-1, *rows.shape[-2:]),
        ]
        directions = directions.reshape(-1, *directions.shape[-3:])
        if all((part == part[:1]).all() for part in parts):
            parts, directions = [part[:1] for part in parts], directions[:1]
        count = max(len(part) for part in parts)
        edges, rows, directions = (
            np.broadcast_to(part, (count, *part.shape[1:])) for part in (*parts, directions)
        )
        held, motions = kinds_of_rows(edges, rows, directions)
        grounded = grounded_coordinates(motions)
        moving = np.ones((count, size), bool)
        np.put_along_axis(moving, held, False, axis=1)
        np.put_along_axis(moving, grounded, False, axis=1)
        gone = ~np.any(moving.reshape(count, n, d), axis=2)
        free_edges = [each[~gone_here[each].any(axis=1)] for each, gone_here in zip(edges, gone, strict=True)]
        fixed = [np.flatnonzero(each).tolist() for each in gone]
        cores = core_nodes_of(free_edges, n, fixed)
        plan = plan_elimination(
            free_edges,
            n,
            [a + b for a, b in zip(fixed, cores, strict=True)],
            [()] * count,
            # Levels here are long programs.
            4e3 if count == 1 else 2e4,
        )
        pairs, total = len(plan.pairs), n * count
        self.levels = [level_of(stage, pairs, total, d) for stage in plan.stages]
        along = np.arange(d)
        slot = {tuple(pair): number for number, pair in enumerate(plan.pairs.tolist())}
        zero = pairs + total
        core_nodes = np.array(cores, dtype=int).reshape(count, -1) + n * np.arange(count)[:, None]
        self.core = jnp.asarray((d * core_nodes[..., None] + along).reshape(count, -1), jnp.int32)
        self.core_blocks = jnp.asarray(core_entries(core_nodes, slot, pairs, zero, d), jnp.int32)
        inlets, sources = core_inlets(plan, core_nodes, zero, d)
        self.core_inlets, self.core_sources = (jnp.asarray(part, jnp.int32) for part in (inlets, sources))
        through = (edges + n * np.arange(count)[:, None, None]).reshape(-1, 2)
        flat = moving.reshape(-1, d)
        joining = [slot.get((min(a, b), max(a, b)), zero) if a != b else zero for a, b in through.tolist()]
        is_free = np.flatnonzero(flat.sum(axis=1))
        own = np.where(np.isin(through, is_free) & (through[:, :1] != through[:, 1:]), pairs + through, zero)
        which = np.stack([np.array(joining, dtype=int), own[:, 0], own[:, 1]])
        i, j = along[:, None, None], along[:, None]
        self.springs = jnp.asarray(d * d * which[:, None, None] + d * i + j, jnp.int32)
        mask = flat[through].astype(int)
        s, t = mask[:, 0].T, mask[:, 1].T
        row, column = (flat[nodes].T.astype(int) for nodes in by_turn(plan, through[:, 0], through[:, 1]))
        signs = np.stack([-row[:, None] * column, s[:, None] * s, t[:, None] * t])
        self.signs = jnp.asarray(np.where(which[:, None, None] == zero, 0, signs), jnp.int32)
        self.ends = jnp.asarray(d * through.T[:, None] + along[:, None], jnp.int32)
        first, second = np.concatenate([plan.pairs, np.repeat(np.arange(total)[:, None], 2, axis=1)]).T
        earlier, later = by_turn(plan, first, second)
        a = (d * earlier[:, None, None] + along[:, None]) + 0 * along
        b = (d * later[:, None, None] + along) + 0 * along[:, None]
        graph = a // size
        self.entries = jnp.asarray(np.stack([graph, a % size, b % size], axis=-1).reshape(-1, 3), jnp.int32)
        free = moving.reshape(-1)
        self.kept = jnp.asarray((free[a] & free[b]).reshape(-1))
        self.pinned = jnp.asarray(((a == b) & ~free[a]).reshape(-1))
        self.edges = jnp.asarray(edges)
        self.rows = jnp.asarray(rows)
        self.held = jnp.asarray(held, jnp.int32)
        self.motions = jnp.asarray(motions)
        self.moving = jnp.asarray(moving)
        self.num_nodes, self.dimension, self.graphs, self.num_pairs = n, d, count, pairs

    @classmethod
    def plan_arguments(cls, network: NetworkLike, task: TaskLike) -> tuple[Array, Array, Array]:
        must = "be a spring or flow network for sparse Cholesky factorisation"
        check_planned_for(network, task, cls.structures, must)
        return network.topology.edges, task.boundary.rows, network.strain_directions()

    @property
    def chunk(self) -> int:
        # Gathers from everywhere: beyond about a megabyte of factors they take twice as long.
        width = _CACHE // (8 * self.dimension**2 * (self.num_pairs + self.num_nodes))
        return min(64, max(8, 1 << max(width, 1).bit_length() - 1))

    @property
    def is_relative(self) -> bool:
        return False

    def factor(
        self, hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        # Factors belong to graphs side by side and not to each realization: they are made anew in each solve.
        return batched(self, _definite_kernel, (hessian,))

    def solve(
        self,
        factors: tuple[Bool[Array, ""], Float[Array, ""]],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        held = constraints.lift @ values
        x = held + batched(self, _solve_kernel, (hessian, force - hessian @ held))
        return x, constraints.lift.T @ (force - hessian @ x)

    def is_definite(self, factors: tuple[Bool[Array, ""], Float[Array, ""]]) -> Bool[Array, ""]:
        return factors[0]

    def pivot_error_bound(
        self,
        factors: tuple[Bool[Array, ""], Float[Array, ""]],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
    ) -> Float[Array, ""]:
        return factors[1]

    def respond(
        self,
        bonds: Bonds,
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
        readout: Float[Array, "o n"],
    ) -> Reply:
        """As every solver's; residual and doubt are those of the first solution, x is refined once.

        Raises `InputError` where the plan has another number of edges or rows.
        """
        edges, rows = bonds.edges, constraints.rows
        planned, found = (self.edges.shape[1:], self.rows.shape[1:]), (edges.shape, rows.shape)
        require(
            planned == found,
            "solver",
            f"be planned for {found[0][0]} edges and {found[1][0]} rows",
            f"it is planned for {planned[0][0]} and {planned[1][0]} rows",
        )
        arguments = (bonds.k, bonds.directions, edges, rows, force, values)
        x, strains, residual, doubt, sound, fits = batched(self, _respond_kernel, arguments)
        scalar = strains[:, 0] if strains.shape[1] == 1 else None
        return Reply(x, readout @ x, scalar, residual, doubt, sound, fits)


def _factor(blocks: Float[Array, "S B"], level: Level) -> tuple[Float[Array, "S B"], None]:
    """One level: the blocks of each pivot in place of what joined it, and what that leaves of the others."""
    d = level.diagonals.shape[0]
    own = gather_rows(blocks, level.diagonals)
    lower: dict[tuple[int, int], Array] = {}
    inverse: list[Array] = []
    for j in range(d):
        pivot = own[j, j] - sum((lower[j, k] ** 2 for k in range(j)), start=jnp.zeros_like(own[j, j]))
        inverse.append(jnp.where(level.is_pivot[:, None], 1 / jnp.sqrt(pivot), 0))
        for i in range(j + 1, d):
            products = sum((lower[i, k] * lower[j, k] for k in range(j)), start=jnp.zeros_like(pivot))
            lower[i, j] = (own[i, j] - products) * inverse[j]
    star = gather_rows(blocks, level.stars)
    scaled: list[Array] = []
    for i in range(d):
        row = star[i]
        for k in range(i):
            row = row - lower[i, k][:, None] * scaled[k]
        scaled.append(row * inverse[i][:, None])
    kept = [inverse[i] if i == j else lower[i, j] for i in range(d) for j in range(i + 1)]
    below, left = np.tril_indices(d)
    blocks = blocks.at[level.stars].set(jnp.stack(scaled), mode="promise_in_bounds")
    blocks = blocks.at[level.diagonals[below, left]].set(jnp.stack(kept), mode="promise_in_bounds")
    for k in range(d):
        # A sum over k first would be no vector code.
        joined = jnp.prod(gather_rows(blocks, level.factors[:, k]), axis=0)
        blocks = blocks.at[level.targets].add(-joined, mode="promise_in_bounds")
    return blocks, None


def _forward(blocks: Float[Array, "S B"], x: Float[Array, "n m B"], level: Level) -> tuple[Array, None]:
    d, m = level.coordinates.shape
    own = gather_rows(blocks, level.diagonals)[:, :, :, None]
    passed = jnp.sum(gather_rows(blocks, level.inlets)[:, :, None] * gather_rows(x, level.sources), axis=0)
    force = gather_rows(x, level.coordinates) - passed.reshape(d, m, *passed.shape[1:])
    solved: list[Array] = []
    for i in range(d):
        row = force[i]
        for k in range(i):
            row = row - own[i, k] * solved[k]
        solved.append(row * own[i, i])
    return x.at[level.coordinates].set(jnp.stack(solved), mode="promise_in_bounds"), None


def _backward(blocks: Float[Array, "S B"], x: Float[Array, "n m B"], level: Level) -> tuple[Array, None]:
    d, m = level.coordinates.shape
    own = gather_rows(blocks, level.diagonals)[:, :, :, None]
    pulled = jnp.sum(
        gather_rows(blocks, level.outlets)[:, :, None] * gather_rows(x, level.neighbours), axis=0
    )
    right = gather_rows(x, level.coordinates) - pulled.reshape(d, m, *pulled.shape[1:])
    solved: dict[int, Array] = {}
    for i in reversed(range(d)):
        row = right[i]
        for k in range(i + 1, d):
            row = row - own[k, i] * solved[k]
        solved[i] = row * own[i, i]
    both = jnp.stack([solved[i] for i in range(d)])
    return x.at[level.coordinates].set(both, mode="promise_in_bounds"), None


def _factored(solver: SparseCholesky, blocks: Float[Array, "S B"]) -> tuple[Array, Array, Array, Array]:
    """Factors of all levels and the core; whether graphs are definite, and `pivot_error_bound`, `(G, B)`."""
    d = solver.dimension
    nodes = solver.graphs * solver.num_nodes

    def diagonal(blocks: Array) -> Array:
        found = blocks[d * d * solver.num_pairs : -d * d].reshape(nodes, d * d, -1)[:, :: d + 1]
        return found.reshape(solver.graphs, -1, found.shape[-1])

    whole = diagonal(blocks)
    for level in solver.levels:
        blocks, _ = loop(_factor, blocks, level)
    size = solver.core.shape[1]
    core = jnp.moveaxis(gather_rows(blocks, solver.core_blocks), -1, 1)
    core = jax.lax.linalg.cholesky(core, symmetrize_input=False) if size else core
    # Of eliminated nodes the inverse is kept.
    inverse = diagonal(blocks)
    if size:
        graph = jnp.arange(solver.graphs)[:, None]
        last = solver.core - d * solver.num_nodes * graph.astype(solver.core.dtype)
        roots = jnp.moveaxis(jnp.diagonal(core, axis1=2, axis2=3), 1, -1)
        inverse = inverse.at[graph, last].set(1 / roots)
    sound = jnp.all(jnp.isfinite(inverse), axis=1)
    lost = jnp.where(solver.moving[..., None], whole * inverse**2, 1)
    return blocks, core, sound, jnp.finfo(blocks.dtype).eps * jnp.max(lost, axis=1)


def _solved(
    solver: SparseCholesky, blocks: Array, core: Array, force: Float[Array, "G n m B"]
) -> Float[Array, "G n m B"]:
    """Displacements under forces, what is held and grounded at zero; motions projected out of both."""
    shape = force.shape
    force = jnp.where(solver.moving[:, :, None, None], _balanced(solver, force), 0)
    x = force.reshape(-1, *shape[2:])
    x = jnp.concatenate([x, jnp.zeros((solver.dimension, *shape[2:]), x.dtype)])
    for level in solver.levels:
        x, _ = loop(partial(_forward, blocks), x, level)
    if solver.core.shape[1]:
        passed = gather_rows(blocks, solver.core_inlets)[..., None, :] * gather_rows(x, solver.core_sources)
        right = jnp.moveaxis(gather_rows(x, solver.core) - jnp.sum(passed, axis=0), -1, 1)
        solve = partial(jax.lax.linalg.triangular_solve, core, left_side=True, lower=True)
        right = solve(solve(right), transpose_a=True)
        x = x.at[solver.core].set(jnp.moveaxis(right, 1, -1), mode="promise_in_bounds")
    for level in solver.levels[::-1]:
        x, _ = loop(partial(_backward, blocks), x, level, reverse=True)
    return _balanced(solver, x[: -solver.dimension].reshape(shape))


def _balanced(solver: SparseCholesky, x: Float[Array, "G n m B"]) -> Float[Array, "G n m B"]:
    """What is left of `x` beside the motions that are projected out."""
    for number in range(solver.motions.shape[1]):
        motion = solver.motions[:, number, :, None, None].astype(x.dtype)
        x = x - motion * jnp.sum(motion * x, axis=1, keepdims=True)
    return x


def _blocks_of(solver: SparseCholesky, hessian: Float[Array, "G n n B"]) -> Float[Array, "S B"]:
    graph, a, b = solver.entries.T
    values = jnp.where(solver.kept[:, None], hessian[graph, a, b], 0)
    values = jnp.where(solver.pinned[:, None], 1, values)
    return jnp.concatenate([values, jnp.zeros((solver.dimension**2, values.shape[-1]), values.dtype)])


def _definite_kernel(solver: SparseCholesky, hessian: Float[Array, "G n n B"]) -> tuple[Array, Array]:
    return _factored(solver, _blocks_of(solver, hessian))[2:]


def _solve_kernel(
    solver: SparseCholesky, hessian: Float[Array, "G n n #B"], force: Float[Array, "G n m #B"]
) -> Float[Array, "G n m _"]:
    hessian, force = of_one_width(hessian, force)
    blocks, core, _, _ = _factored(solver, _blocks_of(solver, hessian))
    return _solved(solver, blocks, core, force)


def _respond_kernel(
    solver: SparseCholesky,
    k: Float[Array, "G M #B"],
    directions: Float[Array, "G M q d #B"],
    edges: Int[Array, "G M 2 #B"],
    rows: Float[Array, "G c n #B"],
    force: Float[Array, "G n m #B"],
    values: Float[Array, "G c m #B"],
) -> tuple[Array, Array, Array, Array, Array, Array]:
    d = solver.dimension
    tiny = jnp.finfo(k.dtype).tiny
    k, force, values = of_one_width(k, force, values)
    width, count = k.shape[-1], values.shape[1] - solver.motions.shape[1]
    planned = jnp.all(edges == solver.edges[..., None], axis=(1, 2))
    planned &= jnp.all(rows == solver.rows[..., None].astype(rows.dtype), axis=(1, 2))
    k = k.reshape(-1, width)
    normals = jnp.moveaxis(directions, 1, -2)
    normals = jnp.moveaxis(normals, 0, 2).reshape(*directions.shape[2:4], -1, directions.shape[-1])
    # Blocks of the Hessian.
    stiffness = sum(k * each[:, None] * each for each in normals)
    updates = solver.signs[..., None].astype(k.dtype) * stiffness
    total = d * d * (solver.num_pairs + solver.graphs * solver.num_nodes + 1)
    pinned = jnp.concatenate([solver.pinned, jnp.zeros((d * d,), bool)])
    blocks = jnp.where(pinned[:, None], jnp.ones((total, width), k.dtype), 0)
    blocks = blocks.at[solver.springs].add(updates, mode="promise_in_bounds")
    blocks, core, sound, pivot_error = _factored(solver, blocks)
    # Start from what is held.
    x = jnp.zeros_like(force)
    graph = jnp.arange(solver.graphs)[:, None]
    x = x.at[graph, solver.held].set(values[:, :count])
    for number in range(solver.motions.shape[1]):
        motion = solver.motions[:, number, :, None, None].astype(x.dtype)
        x = x + motion * values[:, None, count + number]
    signs = jnp.array([1, -1], x.dtype)[:, None, None, None, None]

    def strains_of(x: Array) -> Array:
        relative = gather_rows(x.reshape(-1, *x.shape[2:]), solver.ends) * signs
        return jnp.stack([jnp.sum(relative * each[None, :, :, None], axis=(0, 1)) for each in normals])

    def refine(x: Array, _: None) -> tuple[Array, Array]:
        tension = strains_of(x) * k[:, None]
        pull = sum(n[:, :, None] * t for n, t in zip(normals, tension, strict=True))
        balance = force.reshape(-1, *x.shape[2:]).at[solver.ends].add(-signs * pull, mode="promise_in_bounds")
        balance = _balanced(solver, balance.reshape(x.shape))
        step = _solved(solver, blocks, core, balance)
        # What is held takes what it must; what is grounded takes nothing once all else is balanced.
        gap = largest(jnp.where(solver.moving[:, :, None, None], balance, 0))
        return x + step, jnp.stack([gap, largest(step)])

    def largest(array: Float[Array, "G a m B"]) -> Float[Array, "G m B"]:
        return jnp.max(jnp.abs(array), axis=1)

    # A solve, and one step of refinement that tells what it is worth.
    x, (_, (gap, moved)) = jax.lax.scan(refine, x, None, length=2)
    stiffest = jnp.max(jnp.abs(k).reshape(solver.graphs, -1, 1, width), axis=1)
    size = largest(x) + largest(force) / stiffest
    residual = jnp.max(gap / (stiffest * size + tiny), axis=1)
    doubt = jnp.maximum(jnp.max(moved / (size + tiny), axis=1), pivot_error)
    strains = jnp.moveaxis(strains_of(x), 0, 1).reshape(solver.graphs, -1, len(normals), *x.shape[2:])
    return x, strains, residual, doubt, sound, planned
