"""Was this network trained, and for what? From its graph and k.

A hypothesis test answers the question. Learning a response at one node to a force on another changes every
edge in proportion to the product of two strains (`Pattern`), and softens a fully connected network in one
direction. Both effects are measured on the network and on its null models (`nulls`); the rank of the network
among them is a p-value that holds for any distribution of k.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxphys._checks import InputError, require
from jaxphys.inspection import nulls
from jaxphys.inspection.findings import Findings, Pools, Statistic, TrainingVerdict, against, assembled
from jaxphys.inspection.statistics import (
    Pattern,
    learning_pattern,
    statistics_of_draws,
    statistics_of_graphs,
    zero_modes,
)
from jaxphys.networks.kinds import NULL_MODELS
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, check_single
from jaxphys.networks.topology import Topology, from_edges

# Statistics that training raises (+1) or lowers (-1). The others can only show that a network is unusual.
_OF_EDGES = {"imprint": 1, "imprint_of_ranks": 1}
_OF_MODES = {"softness": 1, "contrast": 1, "effective_conductance": 1, "effective_dimension": -1}
# Another explanation is preferred if its p-value is at most this (or the least that the draws allow), and
# transport if its imprint is this much stronger.
_CERTAIN, _STRONGER = 0.01, 1.5
# Coordinates that dense algebra takes in reasonable time.
_MOST, _MOST_EDGES = 4000, 40_000


def inspect_network(
    network: AbstractNetwork,
    *,
    labels: tuple[str, ...] | None = None,
    num_null: int = 200,
    significance: float = 0.05,
    seed: int = 0,
    null_models: Sequence[str] = NULL_MODELS,
    progress: bool = False,
) -> Findings:
    """Was this network trained, and for what? From its graph and k alone.

    For networks with edges the evidence is the `imprint`: how far the placement of k raises the response
    between some two nodes, to first order, compared with random placements. For node networks it is how soft
    and conductive the network is compared with the same entries in random places. Networks are inspected
    floating: nothing is grounded, and free modes are projected out. Double precision is advised
    (`jax_enable_x64`).

    Source and target cannot be told apart, since `G` is symmetric. Training at a high rate (`ρ = α⟨u²⟩/k₀` of
    Guzman et al. (2024) above some hundred) and training that changes k by a few per cent leave no visible
    imprint.

    **Arguments**

    - `network`: one network. `labels`: names of its nodes; their numbers if left out.
    - `num_null`: draws of each null model; p-values are not below `1 / (num_null + 1)`.
    - `significance`: the largest p-value at which a network is called trained.
    - `seed`: of the null models; the same seed gives the same findings.
    - `null_models`: which to draw; `shuffled` always is. `rewired`, a tenth as many draws, is reported beside
      the others but does not affect the verdict: any lattice differs from a random graph.
    - `progress`: show a bar.

    **Returns** `Findings`.

    Raises `InputError` on an ensemble, fewer than 4 nodes or 3 edges, a disconnected graph, a network too
    large for dense algebra (4000 coordinates), or numbers out of range.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.square_lattice((4, 4)))
    >>> found = jp.inspect_network(network, num_null=19)
    >>> found.verdict, found.p_value
    ('not distinguishable', 1.0)
    """
    check_single(network)
    network = _plain(network)
    check(network, labels, num_null, significance, seed, null_models)
    generator = np.random.default_rng(seed)
    free = zero_modes(network)
    pattern = None
    if network.kind.is_pairwise:
        pattern = eqx.filter_jit(learning_pattern)(network, free)
    if _all_equal(network):
        null_models = ("shuffled",)
    pools = pools_of(network, free, pattern, num_null, generator, null_models, progress)
    p_value, p_unusual = evidence(network, pools)
    other = None
    # Shuffled weak springs leave many spring networks nearly floppy, trained or not, so that the comparison
    # of mean responses is meaningless for springs.
    if p_value <= significance and network.kind.is_laplacian:
        other = _other_explanation(pools["shuffled"])
    verdict, reasons = _verdict(
        network, against(pools["shuffled"]), p_value, p_unusual, other, significance, 1 / (num_null + 1)
    )
    facts = {"p_training": p_value, "num_null": num_null, "significance": significance, "seed": seed}
    return assembled(
        network,
        free,
        pattern,
        pools,
        labels,
        verdict,
        1.0 if other or _all_equal(network) else p_value,
        reasons,
        facts | {"free_modes": free},
    )


def _plain(network: AbstractNetwork) -> AbstractNetwork:
    """Without padding; springs of the isotropic "vector" law as a flow network."""
    require(
        network.k.ndim == 1, "network", "be a single network", f"it is an ensemble of shape {network.k.shape}"
    )
    if network.kind.is_matrix:
        return _conducting(network) or network
    if not network.kind.is_pairwise:
        return network
    real = np.asarray(network.topology.edge_mask)
    old = network.topology
    topology = Topology(old.edges[real], old.positions, old.box, num_nodes=old.num_nodes)
    directions = np.asarray(network.strain_directions())
    is_square = directions.shape[-2] == network.dimension > 1
    if is_square and (directions == np.eye(network.dimension)).all():
        return FlowNetwork(topology, network.k[real])
    parts = {name: part[real] if np.ndim(part) else part for name, part in network.parts().items()}
    return network.from_parts(topology, network.k[real], **parts)


def _conducting(network: AbstractNetwork) -> FlowNetwork | None:
    """The flow network whose Laplacian this matrix is, without leaks to ground; None if it is no Laplacian.

    In a Laplacian no entry off the diagonal is positive, and row sums are much smaller than the diagonal. Its
    softest mode is soft by construction, which that of a matrix of shuffled entries would not be.
    """
    matrix = np.asarray(network.hessian(), dtype=float)
    diagonal, least = np.diagonal(matrix), 1e-9 * np.abs(matrix).max()
    rows, columns = np.triu_indices(len(matrix), 1)
    k, sums = -matrix[rows, columns], matrix.sum(axis=1)
    if (k < -least).any() or (sums < -len(matrix) * least).any() or sums.mean() > 0.5 * diagonal.mean():
        return None
    bound = k > least
    if bound.sum() < 1:
        return None
    topology = from_edges(np.stack([rows[bound], columns[bound]], axis=1), num_nodes=len(matrix))
    return FlowNetwork(topology, k[bound])


def check(
    network: AbstractNetwork,
    labels: tuple[str, ...] | None,
    num_null: int,
    significance: float,
    seed: int,
    null_models: Sequence[str] = NULL_MODELS,
) -> None:
    """Refuse what cannot be inspected, before any compute.

    Arguments are those of `inspect_network`. Raises `InputError` on fewer than 4 nodes or 3 edges, a
    disconnected graph, a network too large for dense algebra, k outside of 1e-60 to 1e60, labels that do not
    fit, unknown null models, and numbers out of range.
    """
    nodes = network.num_nodes
    require(nodes >= 4, "network", "have at least 4 nodes", f"it has {nodes}")
    require(
        network.num_coordinates <= _MOST,
        "network",
        f"have at most {_MOST} coordinates",
        f"it has {network.num_coordinates}; cut out the part of interest",
    )
    require(
        labels is None or len(labels) == nodes,
        "labels",
        f"name {nodes} nodes",
        f"there are {len(labels or ())}",
    )
    unknown = sorted(set(null_models) - set(NULL_MODELS))
    require(
        not unknown, "null_models", f"be among {', '.join(NULL_MODELS)}", f"it names {', '.join(unknown)}"
    )
    for name, count in (("seed", seed), ("num_null", num_null)):
        is_whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        require(is_whole, name, "be a whole number", f"it is a {type(count).__name__}")
    is_number = isinstance(significance, int | float) and not isinstance(significance, bool)
    require(is_number, "significance", "be a number", f"it is a {type(significance).__name__}")
    require(seed >= 0, "seed", "be at least 0", f"it is {seed}")
    require(num_null >= 19, "num_null", "be at least 19", f"it is {num_null}")
    require(
        1 / (num_null + 1) <= significance < 1,
        "significance",
        f"lie between {1 / (num_null + 1):.3g}, the least p-value of {num_null} draws, and 1",
        f"it is {significance}",
    )
    largest = float(np.abs(np.asarray(network.k)).max())
    require(
        1e-60 < largest < 1e60,
        "network",
        "have k of a size between 1e-60 and 1e60",
        f"the largest is {largest:.3g}; choose other units",
    )
    if network.kind.is_pairwise:
        require(
            network.num_edges <= _MOST_EDGES,
            "network",
            f"have at most {_MOST_EDGES} edges",
            f"it has {network.num_edges}; cut out the part of interest",
        )
        require(network.num_edges >= 3, "network", "have at least 3 edges", f"it has {network.num_edges}")
        pieces = network.topology.components()
        sizes = np.bincount(pieces)
        if len(sizes) > 1:
            raise InputError(
                f"Argument `network` must be connected, but it falls into {len(sizes)} pieces, the largest "
                f"of {sizes.max()} nodes; inspect them one at a time."
            )


def pools_of(
    network: AbstractNetwork,
    free: int,
    pattern: Pattern | None,
    num_null: int,
    generator: np.random.Generator,
    null_models: Sequence[str] = NULL_MODELS,
    progress: bool = False,
) -> Pools:
    """Statistics of the network and its null models, by null model and name, the network's own value first.

    **Arguments**

    - `network`: one network. `free`: how many zero modes it has.
    - `pattern`: that of its graph; None for node networks.
    - `num_null`: draws of each null model. `generator`: draws them. `null_models`: which.
    - `progress`: show a bar.
    """
    null_models = [name for name in null_models if name in network.kind.null_models]
    draws = {"shuffled": nulls.shuffled(network, num_null, generator)}
    if "redrawn" in null_models:
        draws["redrawn"] = nulls.redrawn(network, num_null, generator)
    if pattern is not None and "smooth" in null_models:
        draws["smooth"] = nulls.smooth(network, num_null, generator)
    own = np.asarray(network.k)[None]
    draws_of_graphs = max(19, num_null // 10) if "rewired" in null_models else 0
    pools: Pools = {}
    total = num_null * len(draws) + draws_of_graphs
    with tqdm(total=total, unit="network", disable=not progress, leave=False) as bar:
        for null, k in draws.items():
            pools[null] = host_statistics(network, free, pattern, np.concatenate([own, k]))
            bar.update(num_null)
        if draws_of_graphs:
            pools["rewired"] = _rewired(network, free, draws_of_graphs, generator, pools["shuffled"])
    return pools


def _rewired(
    network: AbstractNetwork,
    free: int,
    count: int,
    generator: np.random.Generator,
    pool: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Statistics of the network, which `pool` holds first, and of its conductances on other graphs."""
    graphs = jnp.asarray(nulls.rewired(network, count, generator), network.topology.edges.dtype)
    k = jnp.asarray(nulls.shuffled(network, count, generator), network.k.dtype)
    found = statistics_of_graphs(network, free, graphs, k)
    return {name: np.concatenate([pool[name][:1], np.asarray(values)]) for name, values in found.items()}


def host_statistics(
    network: AbstractNetwork, free: int, pattern: Pattern | None, k: np.ndarray
) -> dict[str, np.ndarray]:
    """Statistics on the host, arrays `(b,)` by name, for many k on one graph.

    **Arguments**

    - `network`, `free`, `pattern`: as in `pools_of`. `k`: `(b, M)`.
    """
    found = statistics_of_draws(network, free, pattern, jnp.asarray(k, network.k.dtype))
    return {name: np.asarray(values) for name, values in found.items()}


def evidence(network: AbstractNetwork, pools: Pools) -> tuple[float, float]:
    """The p-value of looking trained, and that of any difference from the null models.

    The first is the largest over the null models that keep the graph; the second is taken against `shuffled`.

    **Arguments**

    - `network`: one network. `pools`: its statistics, as `pools_of` gives them.
    """
    family = _OF_EDGES if network.kind.is_pairwise else _OF_MODES
    largest = 0.0
    for null, pool in pools.items():
        if null != "rewired":
            z = nulls.standardised(np.stack([sign * pool[name] for name, sign in family.items()], axis=1))
            largest = max(largest, nulls.pooled_p(z.max(axis=1)))
    numbers = [values for name, values in pools["shuffled"].items() if name != "eigenvalues"]
    z = nulls.standardised(np.stack(numbers, axis=1))
    return largest, nulls.pooled_p(np.abs(z).max(axis=1))


def _other_explanation(pool: dict[str, np.ndarray]) -> str | None:
    """A better explanation of k than learning one response, in words; None if there is none."""
    z = nulls.standardised(np.stack([-pool["mean_response"], -pool["softness"], pool["conduit"]], axis=1))
    conducts, stiffens, carries = (nulls.pooled_p(column) for column in z.T)
    certain = max(_CERTAIN, 1 / len(z))
    if conducts <= certain:
        return (
            "its mean response is below that of nearly all shuffled networks: k is placed to conduct well "
            "(or to be stiff) everywhere, which learning a task does not do"
        )
    if stiffens <= certain:
        return (
            "its softest mode is stiffer than that of nearly all shuffled networks: k is placed to hold "
            "the network together, which learning a task does not do"
        )
    if carries <= certain and pool["conduit"][0] > _STRONGER * pool["imprint"][0]:
        return (
            "k is high wherever currents from one node flow: it is placed for transport from there, not for "
            "a response between two nodes"
        )
    return None


def _all_equal(network: AbstractNetwork) -> bool:
    """Whether all exchangeable k are equal, so that shuffling changes nothing."""
    k, kinds = np.asarray(network.k), nulls.classes(network)
    return all(np.ptp(k[kinds == kind]) <= 1e-6 * np.abs(k).max() for kind in np.unique(kinds))


def _verdict(
    network: AbstractNetwork,
    table: dict[str, Statistic],
    p_value: float,
    p_unusual: float,
    other: str | None,
    significance: float,
    least: float,
) -> tuple[TrainingVerdict, tuple[str, ...]]:
    if _all_equal(network):
        return "not distinguishable", ("All k are equal: there is nothing in them to read.",)
    family = _OF_EDGES if network.kind.is_pairwise else _OF_MODES
    strongest = max(family, key=lambda name: family[name] * table[name].z)
    one = table[strongest]
    seen = (
        f"{WORDS[strongest]} is {one.value:.3g}, while the same k in random places give "
        f"{one.null_mean:.3g} ± {one.null_std:.2g}"
    )
    if p_value <= significance and other is None:
        return "trained", (f"{seen}: {one.z:.1f} standard deviations (p = {p_value:.2g}).",)
    striking = sorted(
        (name for name in table if table[name].p_corrected <= max(_CERTAIN, least)),
        key=lambda name: -abs(table[name].z),
    )
    differences = tuple(
        f"{WORDS[name]} is {table[name].value:.3g}, {'above' if table[name].z > 0 else 'below'} the "
        f"{table[name].null_mean:.3g} ± {table[name].null_std:.2g} of the same k in random places."
        for name in striking[:3]
    )
    if other is not None:
        return "unusual", (f"Not like training: {other}.", *differences)
    if p_unusual <= max(_CERTAIN, least):
        return "unusual", (
            f"No sign of training (p = {p_value:.2g}), yet not like its null models.",
            *differences,
        )
    return "not distinguishable", (f"{seen}: within what chance does (p = {p_value:.2g}).",)


WORDS = {
    "softness": "The softness of the softest mode",
    "contrast": "The contrast of the softest mode with the next",
    "effective_conductance": "The effective conductance (log10)",
    "effective_dimension": "The effective dimension of the response",
    "mean_response": "The mean response (log10)",
    "peak_response": "The response that stands out most",
    "localisation": "The localisation of the softest mode",
    "imprint": "The imprint of a response between two nodes",
    "imprint_of_ranks": "The imprint in the order of k",
    "conduit": "The imprint of transport from one node",
    "likeness": "The likeness of edges that meet",
    "susceptible_share": "The share of the most susceptible edges",
}
