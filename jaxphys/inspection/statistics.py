"""Statistics of a network and of its null models: one number each, batched over draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxphys.diagnostics._spectrum import degenerate
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork
from jaxphys.networks.topology import Topology

# Draws that are computed side by side: few enough to stay in the cache.
_SIDE_BY_SIDE = 8
# Slow modes along which k may vary smoothly without any task.
_SLOW = 6


class Pattern(eqx.Module):
    """Where learning would leave its imprint on k, from the graph alone.

    To first order, learning a response of coordinate b to a force on a changes edge i in proportion to
    `P_i(a, b) = uᵢ(a) uᵢ(b)`, the strains under unit forces on a and on b (Stern et al. (2023), eq. 16). Here
    the strains are those of the same network with all `k = 1`, which stands for the time before learning.

    - `response`: `(n, n)` its Green's function, free modes projected out.
    - `nuisance`: `(M, q)` orthonormal: a constant, and properties by which edges differ without any task:
      their share of all responses, their number of neighbours, and their positions along the slowest modes of
      the graph, one mode for every dozen edges and at most six (plus modes as slow as the last of these, if
      they are few).
    - `norms`: `(n, n)` norm over edges of `P(a, b)` with the nuisance projected out; infinite where nothing
      is left.
    """

    response: Float[Array, "n n"]
    nuisance: Float[Array, "M q"]
    norms: Float[Array, "n n"]


def learning_pattern(network: AbstractNetwork, free: int) -> Pattern:
    """The `Pattern` of the graph of a network.

    **Arguments**

    - `network`: one network with edges, whose k does not matter. `free`: how many zero modes it has.
    """
    hessian = network.with_k(jnp.ones_like(network.k)).hessian()
    values, modes = jnp.linalg.eigh(hessian)
    response = (modes[:, free:] / values[free:]) @ modes[:, free:].T
    strains = network.strains(response.T)[..., 0].T
    squares = strains**2
    carried = jnp.sum(squares, axis=1)
    edges = network.topology.edges
    own = jnp.sum(network.compatibility()[:, 0] * strains, axis=1)
    degrees = jnp.zeros(network.num_nodes).at[edges].add(1.0)[edges]
    columns = [
        jnp.ones_like(carried),
        carried,
        jnp.log(carried + jnp.finfo(carried.dtype).tiny),
        own,
        jnp.sum(1 / degrees, axis=1),
        jnp.sum(degrees, axis=1),
    ]
    laplacian = hessian if network.dimension == 1 else FlowNetwork(network.topology, 1.0).hessian()
    slow = min(_SLOW, len(edges) // 12)
    along = _slowest(laplacian, slow)
    columns += list(jnp.mean(along[edges], axis=1).T)
    columns = [
        column / jnp.maximum(jnp.linalg.norm(column), jnp.finfo(column.dtype).tiny) for column in columns
    ]
    nuisance = _spanning(jnp.stack(columns, axis=1))
    norms = squares.T @ squares
    seen = jax.vmap(lambda column: _first_order(network, response, column), 1)(nuisance)
    left_over = norms - jnp.sum(seen**2, axis=0)
    enough = left_over > 1e-6 * norms
    return Pattern(response, nuisance, jnp.where(enough, jnp.sqrt(jnp.where(enough, left_over, 1)), jnp.inf))


def _slowest(laplacian: Float[Array, "N N"], number: int) -> Float[Array, "N s"]:
    """The slowest modes after the constant one; of equal ones all or none, independent of their basis."""
    if number == 0:
        return jnp.zeros((len(laplacian), 0), laplacian.dtype)
    values, modes = jnp.linalg.eigh(laplacian)
    most = min(number + _SLOW, len(values) - 2)
    same = degenerate(values)
    counts = (jnp.arange(len(values)) <= number) | same[number]
    counts = (counts & ~same[most + 1])[1 : most + 1]
    return jnp.where(counts, modes[:, 1 : most + 1], 0)


def _spanning(columns: Float[Array, "M q"]) -> Float[Array, "M q"]:
    """Orthonormal columns that span the given unit columns; zero in place of a dependent one.

    Gram-Schmidt with each column orthogonalised twice (Giraud, Langou and Rozložník, 2005). An SVD would do,
    but with a pool of one thread XLA never returns from a batch of them, see `tests/runs/test_one_cpu.py`.
    """
    # On a regular graph some columns repeat the constant one, up to rounding.
    least = 1e4 * jnp.finfo(columns.dtype).eps

    def add(number: Array, found: Array) -> Array:
        left = columns[:, number]
        for _ in range(2):
            left = left - found @ (found.T @ left)
        size = jnp.linalg.norm(left)
        return found.at[:, number].set(jnp.where(size > least, left / jnp.maximum(size, least), 0))

    return jax.lax.fori_loop(0, columns.shape[1], add, jnp.zeros_like(columns))


def _first_order(network: AbstractNetwork, response: Array, change: Array) -> Float[Array, "n n"]:
    """`Σᵢ changeᵢ Pᵢ(a, b)`: minus the first-order change of the response that a change of k makes."""
    return response @ network.with_k(change).hessian() @ response


def imprint(network: AbstractNetwork, pattern: Pattern, k: Float[Array, " M"]) -> Float[Array, "n n"]:
    """The imprint: how far the placement of k agrees with learning a response of b to a, as z-scores.

    With the nuisance projected out of k, `z_ab = √(M-1) corr(-k, P(a, b))`: the first-order response between
    a and b in standard deviations over random orders of k. Approximately standard normal for an untrained
    network where many edges contribute.

    **Arguments**

    - `network`: one network with edges. `pattern`: that of its graph. `k`: `(M,)`, in any units.

    **Returns** `(n, n)`, one score for each pair of coordinates.
    """
    rest = k - jnp.mean(k)
    rest = rest - pattern.nuisance @ (pattern.nuisance.T @ rest)
    size = jnp.linalg.norm(rest)
    # Where the nuisance explains all of k, or all k are equal, scores are zero.
    varies = size > 1e3 * jnp.finfo(k.dtype).eps * jnp.linalg.norm(k)
    scale = jnp.where(varies, size, jnp.inf) / jnp.sqrt(k.shape[0] - 1)
    return -_first_order(network, pattern.response, rest) / (pattern.norms * scale)


def between_nodes(network: AbstractNetwork, scores: Float[Array, "n n"]) -> Float[Array, "N N"]:
    """Scores between nodes: the root mean square over the d² pairs of their coordinates.

    **Arguments**

    - `network`: one network of N nodes in d dimensions. `scores`: one for each pair of its `n = d N`
      coordinates.
    """
    shape = (network.num_nodes, network.dimension) * 2
    return jnp.sqrt(jnp.mean(scores.reshape(shape) ** 2, axis=(1, 3)))


def ranks(k: Float[Array, " M"]) -> Float[Array, " M"]:
    """Mean rank of every value; equal values share one."""
    ordered = jnp.sort(k)
    below = jnp.searchsorted(ordered, k, side="left")
    upto = jnp.searchsorted(ordered, k, side="right")
    return 0.5 * (below + upto).astype(k.dtype)


def statistics_of(
    network: AbstractNetwork, free: int, pattern: Pattern | None
) -> dict[str, Float[Array, "..."]]:
    """All statistics of one network, scalars by name, and its `eigenvalues`, `(m,)`.

    **Arguments**

    - `network`: one network. `free`: how many zero modes it has.
    - `pattern`: that of its graph; None leaves out the statistics of networks with edges.

    **Returns**, from eigenvalues λ and modes v of the Hessian without its `free` zero modes, and `G = Σ v vᵀ
    / λ`:

    - `softness`: `-λ₁ / ⟨λ⟩`, how soft the softest mode is; `contrast`: `(λ₂ - λ₁) / ⟨λ⟩`.
    - `effective_conductance`: `log10 sqrt⟨λ⁻²⟩`; `effective_dimension`: `(Σ λ⁻²)² / (3 Σ λ⁻⁴)` (Stern et al.
      (2023), eqs 28 and 31).
    - `mean_response`: `log10 ⟨λ⁻¹⟩`; for flow networks the total resistance between all pairs, up to a
      constant.
    - `peak_response`: largest `|G_ab|` between different coordinates over their root mean square.
    - `localisation`: `Σ_a v_a⁴` of the softest mode, summed over nodes; of equally soft modes their squares
      are averaged first.

    With a pattern also:

    - `imprint`, `imprint_of_ranks`: the largest `|z_ab|` of `imprint` between two nodes, of k and of its
      ranks.
    - `conduit`: the largest `-z_aa`: k is high wherever the response to a force on one node is large.
    - `likeness`: mean product of the deviations of log k of adjacent edges (Moran's I).
    - `susceptible_share`: the share of the most susceptible twentieth of the edges in `Σ |sᵢ|²` (Guzman et
      al. (2024), eq. 18).
    """
    values, modes = jnp.linalg.eigh(network.hessian())
    values, modes = values[free:], modes[:, free:]
    mean = jnp.mean(jnp.abs(values))
    inverse = 1 / values
    response = (modes * inverse) @ modes.T
    second = jnp.mean(inverse**2)
    shares = jnp.mean(modes**2, axis=1, where=degenerate(values)[0])
    softest = jnp.sum(shares.reshape(network.num_nodes, -1), axis=1)
    apart = ~np.eye(len(response), dtype=bool)
    between = jnp.where(apart, jnp.abs(response), 0)
    found = {
        "eigenvalues": values,
        "softness": -values[0] / mean,
        "contrast": (values[1] - values[0]) / mean,
        "effective_conductance": 0.5 * jnp.log10(second),
        "effective_dimension": len(inverse) * second**2 / (3 * jnp.mean(inverse**4)),
        "mean_response": jnp.log10(jnp.mean(jnp.abs(inverse))),
        "peak_response": jnp.max(between)
        / (jnp.sqrt(jnp.sum(between**2) / np.sum(apart).item()) + jnp.finfo(between.dtype).tiny),
        "localisation": jnp.sum(softest**2),
    }
    if pattern is None:
        return found
    scores = imprint(network, pattern, network.k)
    placed, ranked = (
        jnp.max(jnp.where(np.eye(network.num_nodes, dtype=bool), 0, between_nodes(network, each)))
        for each in (scores, imprint(network, pattern, ranks(network.k)))
    )
    susceptible = jnp.sum(network.strains(response.T) ** 2, axis=(0, 2))
    share = max(1, round(0.05 * network.num_edges))
    edges, log_k = network.topology.edges, jnp.log(network.k)
    log_k = log_k - jnp.mean(log_k)
    met = jnp.zeros(network.num_nodes).at[edges].add(log_k[:, None])[edges]
    spread = jnp.sum(log_k**2)
    alike = jnp.sum(jnp.sum(met, axis=1) * log_k - 2 * log_k**2) / jnp.where(
        spread > jnp.finfo(spread.dtype).eps, spread, jnp.inf
    )
    return found | {
        "imprint": placed,
        "imprint_of_ranks": ranked,
        "conduit": jnp.max(-jnp.diagonal(scores)),
        "likeness": alike,
        "susceptible_share": jnp.sum(jax.lax.top_k(susceptible, share)[0]) / jnp.sum(susceptible),
    }


@eqx.filter_jit
def statistics_of_draws(
    network: AbstractNetwork, free: int, pattern: Pattern | None, draws: Float[Array, "b M"]
) -> dict[str, Array]:
    """`statistics_of` for many k on one graph: arrays `(b,)` by name.

    **Arguments**

    - `network`, `free`, `pattern`: as in `statistics_of`. `draws`: `(b, M)` values of k.
    """
    return jax.lax.map(
        lambda k: statistics_of(network.with_k(k), free, pattern), draws, batch_size=_SIDE_BY_SIDE
    )


@eqx.filter_jit
def statistics_of_graphs(
    network: AbstractNetwork, free: int, graphs: Int[Array, "b M 2"], draws: Float[Array, "b M"]
) -> dict[str, Array]:
    """`statistics_of` for many graphs of equal size, each with its own k: arrays `(b,)` by name.

    **Arguments**

    - `network`: one network, of the same numbers of nodes and edges. `free`: how many zero modes each has.
    - `graphs`: `(b, M, 2)` node numbers. `draws`: `(b, M)` values of k.
    """

    def one(graph: tuple[Array, Array]) -> dict[str, Array]:
        edges, k = graph
        topology = Topology(edges, None, None, num_nodes=network.num_nodes)
        other = eqx.tree_at(lambda network: (network.topology, network.k), network, (topology, k))
        return statistics_of(other, free, learning_pattern(other, free))

    return jax.lax.map(one, (graphs, draws), batch_size=_SIDE_BY_SIDE)


def zero_modes(network: AbstractNetwork) -> int:
    """Number of modes of zero energy for any k; none for node networks. Runs on the host."""
    if network.kind.is_matrix:
        return 0
    values = np.asarray(jnp.linalg.eigvalsh(network.with_k(jnp.ones_like(network.k)).hessian()))
    return int(np.sum(values < 1e2 * len(values) * np.finfo(values.dtype).eps * values[-1]))
