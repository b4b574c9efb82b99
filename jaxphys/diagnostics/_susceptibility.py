"""Susceptibility: how strongly the response of a network depends on each edge, from its physics alone."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxphys._checks import require
from jaxphys.diagnostics._spectrum import degenerate
from jaxphys.equilibrium import Boundary, check_boundary, greens_function, solve_columns
from jaxphys.learning import Task, check_pair
from jaxphys.networks.physics import AbstractNetwork, check_single


def susceptibility_vectors(
    network: AbstractNetwork, boundary: Boundary, *, border: bool = False
) -> Float[Array, "M z"]:
    """`s_i = B_i G`, the strain of edge i per unit force at each coordinate.

    Guzman et al. (2024), eqs 14-17, where they are half as large, since the Hessian there is that of the
    dissipated power, `2 H`. They factorise the change of the response, `∂G/∂kᵢ = -sᵢ sᵢᵀ`. With every held
    node in the boundary these are strains with the sources held; with the ground alone they are strains under
    currents. For networks whose edges have one strain each (flow networks, central-force springs).

    **Arguments**

    - `network`: one network of n coordinates and M edges. `boundary`: its boundary of c rows.
    - `border`: append the strains per unit value of each row of the boundary. Then s contracts with forces
      and held values alike (Guzman et al. (2024), eq. 12, for voltage inputs).

    **Returns** `(M, n)` in units of 1/k; with `border` `(M, n + c)`, the last c columns without units.

    Raises `InputError` for node networks and the "vector" spring law.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    >>> jp.diagnostics.susceptibility_vectors(network, boundary, border=True).round(2).tolist()
    [[0.0, -0.5, 0.0, 0.5, -0.5], [0.0, 0.5, 0.0, 0.5, -0.5]]
    """
    check_boundary(network, boundary)
    require(
        network.kind.strain is not None,
        "network",
        "be a flow or spring network, whose edges feel one strain",
        f"it is a {type(network).__name__}",
    )
    response = _bordered_response(network, boundary) if border else greens_function(network, boundary)
    strains = network.strains(response.T)
    require(strains.shape[-1] == 1, "network", "have one strain per edge", f"it has {strains.shape[-1]}")
    return strains[..., 0].T


def susceptibility(network: AbstractNetwork, boundary: Boundary) -> Float[Array, " M"]:
    """`|∂G/∂kᵢ|` in the Frobenius norm: how strongly the response to all forces depends on edge i.

    For edges with one strain this is `|sᵢ|²` of `susceptibility_vectors` (Guzman et al. (2024), eq. 18, where
    it is four times smaller); for a node network or the "vector" spring law the derivative has rank 2 or
    more. Held coordinates do not move, and the response to held values does not enter.

    **Arguments**

    - `network`: one network of any kind, M entries of `k`. `boundary`: its boundary.

    **Returns** `(M,)`, in units of 1/k squared.

    Raises `InputError` on a boundary of another network, and on more coordinates than dense algebra allows.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 0.5])
    >>> jp.diagnostics.susceptibility(network, jp.Boundary(network, ground=[2])).round(3).tolist()
    [1.0, 8.0]
    """
    return susceptibility_of_response(network, greens_function(network, boundary))


def partial_susceptibility(
    network: AbstractNetwork, boundary: Boundary, num_modes: Sequence[int] | np.ndarray
) -> Float[Array, "p M"]:
    """`susceptibility` from the softest modes alone (Guzman et al. (2024), eqs 19 and 24).

    G is replaced by `Σ_α w_α w_αᵀ / ν_α` over a number of modes of the bordered Hessian `[[H, Cᵀ], [C, 0]]`,
    those of least `|ν|` (as many ν are negative as the border has rows); all `n + c` modes give the full
    `susceptibility`. Where a number splits modes of equal `|ν|`, each of them enters with the same weight.
    Border entries of modes stay out of the norm. Partial sums depend on the unit of k, which sets the size of
    H beside C; partial sums over the modes of `spectrum` do not.

    **Arguments**

    - `network`: one network of n coordinates. `boundary`: its boundary of c rows.
    - `num_modes`: `(p,)` numbers of modes, each from 0 to n + c.

    **Returns** `(p, M)`, one row for each number, in units of 1/k squared.

    Raises `InputError` on numbers outside of 0 to n + c.

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
    first, multiplicity = jnp.argmax(same, axis=1), jnp.sum(same, axis=1)

    def up_to(count: Array) -> Array:
        weights = jnp.clip((count - first).astype(values.dtype) / multiplicity.astype(values.dtype), 0, 1)
        weights = jnp.where(weights > 0, weights / values, 0)
        return susceptibility_of_response(network, (modes * weights) @ modes.T)

    return jax.lax.map(up_to, jnp.asarray(counts))


def susceptibility_cost_hessian(network: AbstractNetwork, task: Task) -> Float[Array, "M M"]:
    """The cost Hessian as the contraction `L : S` of a task with susceptibilities.

    Guzman et al. (2024), eqs 12 and A5. S comes from the physics, `∂G/∂kᵢ` between an input and an output,
    and L from the task, its inputs and the curvature of its cost; currents and held values enter alike,
    through the full border. The contraction equals the Gauss-Newton matrix,
    `cost_hessian(kind="gauss_newton")`, and at zero cost the exact cost Hessian. `cost_hessian` is faster;
    this function computes the response to every force and serves as its check.

    **Arguments**

    - `network`, `task`: one network and its task; M entries of `k`.

    **Returns** `(M, M)`, in units of cost over k squared.

    Raises `InputError` on a network and task that do not fit.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.susceptibility_cost_hessian(network, task).round(3).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    check_pair(network, task)
    response = _bordered_response(network, task.boundary)
    # Rows of the boundary behind the held ones are held at zero.
    num_zero = task.boundary.rows.shape[0] - task.values.shape[1]
    sources = jnp.concatenate([task.force, jnp.pad(task.values, ((0, 0), (0, num_zero)))], axis=1)
    inputs = task.inputs @ sources
    readout = jnp.pad(task.readout, ((0, 0), (0, task.boundary.rows.shape[0])))
    curvatures = task.cost_curvatures(inputs @ response.T @ task.readout.T)
    changes = -network.edge_form((inputs @ response.T)[:, None], (readout @ response.T)[None])
    return task.sample_weight * jnp.einsum("roi,rop,rpj->ij", changes, curvatures, changes, optimize=True)


def relative_conductance(network: AbstractNetwork) -> Float[Array, " M"]:
    """`kᵢ / ⟨kᵢ⟩`: the conductance of edge i over the mean of the edges that share a node with it.

    Guzman et al. (2024), fig. 8. An edge parallel to i, between the same two nodes, counts at both ends. For
    a spring network the same is computed from its spring constants.

    **Returns** `(M,)`, without units; NaN for padding and for an edge that shares no node with another.

    Raises `InputError` on node networks and on ensembles.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]), k=[1.0, 2.0, 3.0])
    >>> jp.diagnostics.relative_conductance(network).tolist()
    [0.5, 1.0, 1.5]
    """
    check_single(network)
    require(
        network.kind.is_pairwise,
        "network",
        "be one whose edges meet at nodes",
        f"it is a {type(network).__name__}",
    )
    edges, mask = network.topology.edges, network.edge_mask
    k, ones = jnp.where(mask, network.k, 0), mask.astype(network.k.dtype)

    def sum_of_neighbours(values: Array) -> Array:
        at_nodes = jnp.zeros(network.num_nodes, values.dtype).at[edges].add(values[:, None])
        return jnp.sum(at_nodes[edges], axis=1) - 2 * values

    number = jnp.where(mask, sum_of_neighbours(ones), 0)
    return jnp.where(number > 0, k * number / jnp.where(number > 0, sum_of_neighbours(k), 1), jnp.nan)


def _bordered_response(network: AbstractNetwork, boundary: Boundary) -> Float[Array, "n z"]:
    """`(n, n + c)`: states under a unit force at each coordinate, then under a unit value of each row."""
    n, c = network.num_coordinates, boundary.rows.shape[0]
    both = jnp.eye(n + c, dtype=network.k.dtype)
    return solve_columns(network.hessian(), boundary, both[:n], both[n:])[0]


def susceptibility_of_response(network: AbstractNetwork, response: Float[Array, "n z"]) -> Float[Array, " M"]:
    """`|R Qᵢ Rᵀ|` in the Frobenius norm for every edge i, the susceptibilities behind a response R.

    **Arguments**

    - `network`: one network of n coordinates and M entries of `k`.
    - `response`: `(n, z)`, a state in each column; the Green's function for `susceptibility`.

    **Returns** `(M,)`, in the units of the response squared.
    """
    return network.edge_norms(response.T)
