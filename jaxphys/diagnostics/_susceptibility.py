"""Which edges the response of a network hangs on, read off its physics alone."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxphys._checks import require
from jaxphys.diagnostics._spectrum import degenerate
from jaxphys.equilibrium import Boundary, check_boundary, greens_function, solve_columns
from jaxphys.learning import Task, check_pair
from jaxphys.networks.physics import AbstractDifferenceNetwork, AbstractNetwork, check_single


def susceptibility_vectors(
    network: AbstractNetwork, boundary: Boundary, *, border: bool = False
) -> Float[Array, "M z"]:
    """`s_i = B_i G`: the strain of edge i per unit force at each coordinate (paper B, eqs 14-17).

    `∂G/∂kᵢ = -sᵢ sᵢᵀ`. Shape `(M, n)`. Ours is twice paper B's, whose Hessian is that of the power, `2 H`.
    With every held node in the boundary these are strains with the sources held; with the
    ground alone they are strains under currents. For networks whose edges feel one number
    (flow, central-force springs).

    With `border=True` there follow the strains per unit value of each of the c rows of the boundary,
    `(M, n + c)`: then s contracts with forces and held values alike (paper B, eq. 12, for voltage inputs).

    Raises `InputError` for node networks and the "vector" spring law.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    >>> jp.diagnostics.susceptibility_vectors(network, boundary, border=True).round(2).tolist()
    [[0.0, -0.5, 0.0, 0.5, -0.5], [0.0, 0.5, 0.0, 0.5, -0.5]]
    """
    check_boundary(network, boundary)
    require(
        isinstance(network, AbstractDifferenceNetwork),
        "network",
        "be a flow or spring network, whose edges feel one strain",
        f"it is a {type(network).__name__}",
    )
    assert isinstance(network, AbstractDifferenceNetwork)
    response = _bordered_response(network, boundary) if border else greens_function(network, boundary)
    strains = network.strains(response.T)
    require(strains.shape[-1] == 1, "network", "have one strain per edge", f"it has {strains.shape[-1]}")
    return strains[..., 0].T


def susceptibility(network: AbstractNetwork, boundary: Boundary) -> Float[Array, " M"]:
    """`|∂G/∂kᵢ|`, in the Frobenius norm: how much edge i says in the response to all forces, `(M,)`.

    For edges that feel one strain this is `|sᵢ|²` of `susceptibility_vectors` (paper B, eq. 18, where it is
    four times smaller); the derivative of a node network or the "vector" spring law has rank 2 and more.
    Held coordinates answer nothing, and what held values do does not count.
    """
    return susceptibility_of_response(network, greens_function(network, boundary))


def partial_susceptibility(
    network: AbstractNetwork, boundary: Boundary, num_modes: Sequence[int] | np.ndarray
) -> Float[Array, "p M"]:
    """`susceptibility` from the softest modes alone, `(p, M)` for p numbers of modes (paper B, eqs 19, 24).

    G is replaced by `Σ_α w_α w_αᵀ / ν_α` over as many modes of the bordered Hessian `[[H, Cᵀ], [C, 0]]`,
    those of least `|ν|` (a border makes as many negative ones as it has rows); with all `n + c` the full
    `susceptibility` is recovered. Modes of equal `|ν|` that a number cuts through take the same part each.
    Border entries of modes stay out of the norm. Partial
    sums depend on the unit of k, in which H is large or small beside C; those over the modes of `spectrum` do
    not.

    Raises `InputError` on numbers outside of 0 and n + c.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> network = jp.NodeNetwork.from_matrix(jnp.diag(jnp.array([1.0, 2.0])))
    >>> jp.diagnostics.partial_susceptibility(network, jp.Boundary(network), [1, 2])[:, 0].tolist()
    [1.0, 1.0]
    """
    check_boundary(network, boundary)
    counts, size = np.asarray(num_modes, dtype=int), network.num_coordinates + boundary.rows.shape[0]
    require(
        counts.ndim == 1 and counts.size > 0 and counts.min() >= 0 and counts.max() <= size,
        "num_modes",
        f"hold numbers from 0 to {size}",
        f"it is {counts.tolist()}",
    )
    n = network.num_coordinates
    rows = boundary.rows
    corner = jnp.zeros((len(rows), len(rows)), rows.dtype)
    values, modes = jnp.linalg.eigh(jnp.block([[network.hessian(), rows.T], [rows, corner]]))
    order = jnp.argsort(jnp.abs(values))
    values, modes = values[order], modes[:n, order]
    same = degenerate(jnp.abs(values))
    before, alike = jnp.argmax(same, axis=1), jnp.sum(same, axis=1)

    def up_to(count: Array) -> Array:
        parts = jnp.clip((count - before).astype(values.dtype) / alike.astype(values.dtype), 0, 1)
        shares = jnp.where(parts > 0, parts / values, 0)
        return susceptibility_of_response(network, (modes * shares) @ modes.T)

    return jax.lax.map(up_to, jnp.asarray(counts))


def susceptibility_cost_hessian(network: AbstractNetwork, task: Task) -> Float[Array, "M M"]:
    """The cost Hessian as the contraction `L : S` of a task with susceptibilities (paper B, eqs 12 and A5).

    Every entry is what the physics gives, `∂G/∂kᵢ` between an input and an output, contracted with what the
    task gives, inputs and the curvature of its cost; currents and held values enter alike, through the full
    border. It equals the Gauss-Newton matrix, `cost_hessian(kind="gauss_newton")`, and at zero cost the exact
    one. That is the quicker way; this one goes through the response to every force and serves as its check.
    """
    check_pair(network, task)
    response = _bordered_response(network, task.boundary)
    unheld = task.boundary.rows.shape[0] - task.values.shape[1]
    acting = jnp.concatenate([task.force, jnp.pad(task.values, ((0, 0), (0, unheld)))], axis=1)
    inputs = task.inputs @ acting
    readout = jnp.pad(task.readout, ((0, 0), (0, task.boundary.rows.shape[0])))
    curvatures = task.cost_curvatures(inputs @ response.T @ task.readout.T)
    changes = -network.edge_form((inputs @ response.T)[:, None], (readout @ response.T)[None])
    return task.sample_weight * jnp.einsum("roi,rop,rpj->ij", changes, curvatures, changes, optimize=True)


def relative_conductance(network: AbstractNetwork) -> Float[Array, " M"]:
    """`kᵢ / ⟨kᵢ⟩`: conductance over the mean of the edges that meet edge i at its ends (paper B, fig. 8).

    Shape `(M,)`, without units; NaN for padding and for an edge that meets no other. An edge beside i,
    between the same two nodes, counts at both ends. Serves the spring constants of a spring network as well.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]), k=[1.0, 2.0, 3.0])
    >>> jp.diagnostics.relative_conductance(network).tolist()
    [0.5, 1.0, 1.5]
    """
    check_single(network)
    require(
        isinstance(network, AbstractDifferenceNetwork),
        "network",
        "be one whose edges meet at nodes",
        f"it is a {type(network).__name__}",
    )
    assert isinstance(network, AbstractDifferenceNetwork)
    edges, mask = network.topology.edges, network.edge_mask
    k, one = jnp.where(mask, network.k, 0), mask.astype(network.k.dtype)

    def others(values: Array) -> Array:
        at_nodes = jnp.zeros(network.num_nodes, values.dtype).at[edges].add(values[:, None])
        return jnp.sum(at_nodes[edges], axis=1) - 2 * values

    number = jnp.where(mask, others(one), 0)
    return jnp.where(number > 0, k * number / jnp.where(number > 0, others(k), 1), jnp.nan)


def _bordered_response(network: AbstractNetwork, boundary: Boundary) -> Float[Array, "n z"]:
    """States for a unit force at each coordinate, then for a unit value of each row of the boundary."""
    n, c = network.num_coordinates, boundary.rows.shape[0]
    both = jnp.eye(n + c, dtype=network.k.dtype)
    return solve_columns(network.hessian(), boundary, both[:n], both[n:])[0]


def susceptibility_of_response(network: AbstractNetwork, response: Float[Array, "n z"]) -> Float[Array, " M"]:
    """`|R Qᵢ Rᵀ|` in the Frobenius norm, for every edge i and the states of a response R."""
    if isinstance(network, AbstractDifferenceNetwork):
        strains: Any = network.strains(response.T)
        products = jnp.einsum("zic,zid->icd", strains, strains)
        return jnp.sqrt(jnp.sum(products**2, axis=(1, 2)))
    # Q joins two nodes, or one to itself: |g_a g_bᵀ + g_b g_aᵀ|² = 2 (g_a² g_b² + (g_a·g_b)²).
    gram = response @ response.T
    a, b = np.triu_indices(network.num_nodes)
    squares = gram[a, a] * gram[b, b]
    return jnp.sqrt(jnp.where(a == b, squares, 2 * (squares + gram[a, b] ** 2)))
