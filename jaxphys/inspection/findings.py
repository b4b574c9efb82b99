"""Was this network trained, and for what? A verdict with its evidence.

The question is put as a test. Learning to answer a force on one node with a response at another changes every
edge in proportion to the product of two strains (`Pattern`), and makes a fully connected network soft in one
direction. How far both go is measured on the network and on its null models alike (`nulls`), and the rank
among them is a p-value that holds whatever the distribution of k.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from jaxphys._checks import InputError, require
from jaxphys.diagnostics import relative_conductance, sectors
from jaxphys.inspection import nulls
from jaxphys.inspection.statistics import (
    Pattern,
    between_nodes,
    imprint,
    learning_pattern,
    measure_draws,
    measure_graphs,
    zero_modes,
)
from jaxphys.networks import (
    AbstractDifferenceNetwork,
    AbstractNetwork,
    FlowNetwork,
    NodeNetwork,
    SpringNetwork,
)
from jaxphys.topology import Topology

_KINDS: dict[type, str] = {FlowNetwork: "flow", SpringNetwork: "spring", NodeNetwork: "node"}
Verdict = Literal["trained", "not distinguishable", "unusual"]

# What training raises (+1) or lowers (-1). Only these speak for it; the others tell an unusual network.
_OF_EDGES = {"imprint": 1, "imprint_of_ranks": 1}
_OF_NODES = {"softness": 1, "contrast": 1, "effective_conductance": 1, "effective_dimension": -1}
# Another explanation wins where it is this certain, and a conduit where it is this much stronger.
_CERTAIN, _STRONGER = 0.01, 1.5
# Walls of a response last at least this share of its range (paper B).
_PERSISTENCE = 0.05
# Coordinates that dense algebra takes in reasonable time.
_MOST = 4000


class Statistic(NamedTuple):
    """One number of the network beside those of a null model.

    `band` holds the middle 95 % of the null; `z` counts standard deviations; `p` is two-sided by the add-one
    rule, and `p_corrected` that of the largest `|z|` of all statistics (Westfall and Young), for so many looks.
    """

    value: float
    null_mean: float
    null_std: float
    band: tuple[float, float]
    z: float
    p: float
    p_corrected: float


@dataclasses.dataclass(frozen=True)
class Findings:
    """What `inspect_network` found.

    - `verdict`: `"trained"` if `p_value` is at most the significance; `"unusual"` if it differs from its null
      models in some other way; else `"not distinguishable"`. `reasons`: why, in sentences.
    - `p_value`: how often an untrained network looks as trained as this one, the largest over null models; 1
      where something other than training explains the network better.
    - `statistics`: by name, against `shuffled`; `null_models`: the same against every null model.
    - `terminals`: the two nodes between which the network answers as if trained to; in either order.
    - `node_scores`: `(N,)`, `edge_scores`: `(M,)`: how much speaks for each; larger is more.
    - `labels`: names of the nodes; `network`: what was looked at.
    - `fields`: labelled arrays behind the pictures: spectrum and null band, inferred force and response,
      susceptibilities, relative conductances, sectors, stiff direction.
    """

    verdict: Verdict
    p_value: float
    reasons: tuple[str, ...]
    statistics: dict[str, Statistic]
    null_models: dict[str, dict[str, Statistic]]
    terminals: tuple[int, int]
    node_scores: Float[np.ndarray, " N"]
    edge_scores: Float[np.ndarray, " M"]
    labels: tuple[str, ...]
    network: AbstractNetwork
    fields: xr.Dataset

    def as_json(self) -> dict[str, Any]:
        """What `findings.json` holds: verdict, p-value, statistics, nodes and edges, best first."""
        ends = edge_ends(self.network)
        return {
            "verdict": self.verdict,
            "p_value": self.p_value,
            "reasons": list(self.reasons),
            "statistics": {name: one._asdict() for name, one in self.statistics.items()},
            "null_models": {
                null: {name: one._asdict() for name, one in table.items()}
                for null, table in self.null_models.items()
            },
            "terminals": [self.labels[node] for node in self.terminals],
            "nodes": [
                {"node": self.labels[node], "score": float(self.node_scores[node])}
                for node in np.argsort(-self.node_scores, kind="stable").tolist()
            ],
            "edges": [
                {
                    "source": self.labels[ends[edge, 0]],
                    "target": self.labels[ends[edge, 1]],
                    "score": float(self.edge_scores[edge]),
                }
                for edge in np.argsort(-self.edge_scores, kind="stable").tolist()
            ],
            "settings": dict(self.fields.attrs),
        }


def inspect_network(
    network: AbstractNetwork,
    *,
    labels: tuple[str, ...] | None = None,
    num_null: int = 200,
    significance: float = 0.05,
    seed: int = 0,
) -> Findings:
    """Was this network trained, and for what? From its graph and k alone.

    For networks with edges the evidence is the `imprint`: how far the placement of k raises the response
    between some two nodes, to first order, against random placements. For node networks it is how soft and
    conductive the network is against the same entries in other places. Everything floats: nothing is
    grounded, free modes are projected out. Double precision is advised (`jax_enable_x64`).

    Source and target cannot be told apart, since `G` is symmetric. Training at a high rate (paper B's
    `ρ = α⟨u²⟩/k₀` above some hundred) and training of a few per cent leave no mark to be seen.

    **Arguments**

    - `labels`: names of the nodes; their numbers if left out.
    - `num_null`: draws of each null model; p-values are not below `1 / (num_null + 1)`.
    - `significance`: up to which p-value a network is called trained.
    - `seed`: of the null models; the same seed gives the same findings.

    Raises `InputError` on an ensemble, fewer than 4 nodes or 3 edges, a disconnected graph, a network too
    large for dense algebra (4000 coordinates), or numbers out of range.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.square_lattice((4, 4)))
    >>> found = jp.inspect_network(network, num_null=19)
    >>> found.verdict, found.p_value
    ('not distinguishable', 1.0)
    """
    network = _plain(network)
    _check(network, labels, num_null, significance)
    labels = labels or tuple(str(node) for node in range(network.num_nodes))
    generator = np.random.default_rng(seed)
    free = zero_modes(network)
    pattern = None
    if isinstance(network, AbstractDifferenceNetwork):
        pattern = eqx.filter_jit(learning_pattern)(network, free)
    pools = _pools(network, free, pattern, num_null, generator)
    spectra = pools["shuffled"].pop("eigenvalues")
    null_models = {null: _against(pool) for null, pool in pools.items()}
    p_value, p_unusual = _evidence(network, pools)
    other = _other_explanation(pools["shuffled"]) if p_value <= significance and pattern is not None else None
    verdict, reasons = _verdict(network, null_models, p_value, p_unusual, other, significance)
    terminals, node_scores, edge_scores, fields = _readings(network, free, pattern)
    band = np.quantile(spectra[1:], [0.025, 0.975], axis=0)
    fields = fields.assign(
        eigenvalues=("mode", spectra[0]), null_eigenvalues=(("bound", "mode"), band)
    ).assign_attrs(num_null=num_null, significance=significance, seed=seed, free_modes=free)
    return Findings(
        verdict,
        1.0 if other else p_value,
        reasons,
        null_models["shuffled"],
        null_models,
        terminals,
        node_scores,
        edge_scores,
        labels,
        network,
        fields,
    )


def edge_ends(network: AbstractNetwork) -> np.ndarray:
    """`(M, 2)`: the nodes that every entry of k joins; in a node network the upper triangle with diagonal."""
    if isinstance(network, NodeNetwork):
        return np.stack(np.triu_indices(network.num_nodes), axis=1)
    assert isinstance(network, AbstractDifferenceNetwork)
    return np.asarray(network.topology.edges)


def _plain(network: AbstractNetwork) -> AbstractNetwork:
    """Without padding; springs of the "vector" law, which feel every direction alike, as a flow network."""
    require(
        network.k.ndim == 1, "network", "be a single network", f"it is an ensemble of shape {network.k.shape}"
    )
    if isinstance(network, NodeNetwork):
        return network
    assert isinstance(network, FlowNetwork | SpringNetwork)
    real = np.asarray(network.topology.edge_mask)
    old = network.topology
    topology = Topology(old.edges[real], old.positions, old.box, num_nodes=old.num_nodes)
    if isinstance(network, SpringNetwork) and network.law == "central":
        return SpringNetwork(topology, network.k[real])
    return FlowNetwork(topology, network.k[real])


def _check(
    network: AbstractNetwork, labels: tuple[str, ...] | None, num_null: int, significance: float
) -> None:
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
    require(num_null >= 19, "num_null", "be at least 19", f"it is {num_null}")
    require(
        1 / (num_null + 1) <= significance < 1,
        "significance",
        f"lie between {1 / (num_null + 1):.3g}, the least p-value of {num_null} draws, and 1",
        f"it is {significance}",
    )
    if isinstance(network, AbstractDifferenceNetwork):
        require(network.num_edges >= 3, "network", "have at least 3 edges", f"it has {network.num_edges}")
        pieces = network.topology.components()
        sizes = np.bincount(pieces)
        if len(sizes) > 1:
            raise InputError(
                f"Argument `network` must be connected, but it falls into {len(sizes)} pieces, the largest "
                f"of {sizes.max()} nodes; inspect them one at a time."
            )


def _pools(
    network: Any, free: int, pattern: Pattern | None, num_null: int, generator: np.random.Generator
) -> dict[str, dict[str, np.ndarray]]:
    """By null model and statistic: the network's own value first, then those of the draws."""
    draws = {"shuffled": nulls.shuffled(network, num_null, generator)}
    draws["redrawn"] = nulls.redrawn(network, num_null, generator)
    if pattern is not None:
        draws["smooth"] = nulls.smooth(network, num_null, generator)
    own = np.asarray(network.k)[None]
    pools = {null: _measured(network, free, pattern, np.concatenate([own, k])) for null, k in draws.items()}
    if isinstance(network, FlowNetwork):
        graphs = jnp.asarray(nulls.rewired(network, num_null, generator), network.topology.edges.dtype)
        k = jnp.asarray(nulls.shuffled(network, num_null, generator), network.k.dtype)
        found = measure_graphs(network, free, graphs, k)
        pools["rewired"] = {
            name: np.concatenate([pools["shuffled"][name][:1], np.asarray(values)])
            for name, values in found.items()
        }
    for null, pool in pools.items():
        if null != "shuffled":
            del pool["eigenvalues"]
    return pools


def _measured(network: Any, free: int, pattern: Pattern | None, k: np.ndarray) -> dict[str, np.ndarray]:
    found = measure_draws(network, free, pattern, jnp.asarray(k, network.k.dtype))
    return {name: np.asarray(values) for name, values in found.items()}


def _against(pool: dict[str, np.ndarray]) -> dict[str, Statistic]:
    names = list(pool)
    values = np.stack([pool[name] for name in names], axis=1)
    z = nulls.standardised(values)
    largest = np.max(np.abs(z), axis=1)
    table = {}
    for i, name in enumerate(names):
        draws = values[1:, i]
        low, high = np.quantile(draws, [0.025, 0.975])
        tails = min(nulls.pooled_p(z[:, i]), nulls.pooled_p(-z[:, i]))
        table[name] = Statistic(
            float(values[0, i]),
            float(draws.mean()),
            float(draws.std()),
            (float(low), float(high)),
            float(z[0, i]),
            min(1.0, 2 * tails),
            float(np.mean(largest >= abs(z[0, i]) - 1e-9)),
        )
    return table


def _evidence(network: AbstractNetwork, pools: dict[str, dict[str, np.ndarray]]) -> tuple[float, float]:
    """p-values of looking trained, the largest over null models that keep the graph, and of any difference."""
    family = _OF_NODES if isinstance(network, NodeNetwork) else _OF_EDGES
    largest = 0.0
    for null, pool in pools.items():
        if null != "rewired":
            z = nulls.standardised(np.stack([sign * pool[name] for name, sign in family.items()], axis=1))
            largest = max(largest, nulls.pooled_p(z.max(axis=1)))
    z = nulls.standardised(np.stack(list(pools["shuffled"].values()), axis=1))
    return largest, nulls.pooled_p(np.abs(z).max(axis=1))


def _other_explanation(pool: dict[str, np.ndarray]) -> str | None:
    """What explains k better than learning one response, if anything does."""
    z = nulls.standardised(np.stack([-pool["mean_response"], pool["conduit"]], axis=1))
    conducts, carries = (nulls.pooled_p(column) for column in z.T)
    if conducts <= _CERTAIN:
        return (
            "its mean response is below that of nearly all its shuffled selves: k is placed to conduct well "
            "(or to be stiff) everywhere, which learning a task does not do"
        )
    if carries <= _CERTAIN and pool["conduit"][0] > _STRONGER * pool["imprint"][0]:
        return (
            "k is high wherever currents from one node flow: it is placed for transport from there rather than "
            "for a response between two nodes"
        )
    return None


def _verdict(
    network: AbstractNetwork,
    tables: dict[str, dict[str, Statistic]],
    p_value: float,
    p_unusual: float,
    other: str | None,
    significance: float,
) -> tuple[Verdict, tuple[str, ...]]:
    if np.ptp(np.asarray(network.k)) <= 1e-6 * np.abs(np.asarray(network.k)).max():
        return "not distinguishable", ("All k are equal: there is nothing in them to read.",)
    table = tables["shuffled"]
    family = _OF_NODES if isinstance(network, NodeNetwork) else _OF_EDGES
    strongest = max(family, key=lambda name: family[name] * table[name].z)
    one = table[strongest]
    seen = (
        f"{_WORDS[strongest]} is {one.value:.3g}, while the same k in random places give "
        f"{one.null_mean:.3g} ± {one.null_std:.2g}"
    )
    if p_value <= significance and other is None:
        return "trained", (f"{seen}: {one.z:.1f} standard deviations (p = {p_value:.2g}).",)
    striking = sorted(
        (name for name in table if table[name].p_corrected <= _CERTAIN), key=lambda name: -abs(table[name].z)
    )
    differences = tuple(
        f"{_WORDS[name]} is {table[name].value:.3g}, {'above' if table[name].z > 0 else 'below'} the "
        f"{table[name].null_mean:.3g} ± {table[name].null_std:.2g} of the same k in random places."
        for name in striking[:3]
    )
    if other is not None:
        return "unusual", (f"Not like training: {other}.", *differences)
    if p_unusual <= _CERTAIN:
        return "unusual", (
            f"No sign of training (p = {p_value:.2g}), yet not like its null models.",
            *differences,
        )
    return "not distinguishable", (f"{seen}: within what chance does (p = {p_value:.2g}).",)


_WORDS = {
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


def _readings(
    network: Any, free: int, pattern: Pattern | None
) -> tuple[tuple[int, int], np.ndarray, np.ndarray, xr.Dataset]:
    """The two suspected nodes, scores of nodes and edges, and what the physics of the network shows."""
    values, modes = jnp.linalg.eigh(network.hessian())
    values, modes = np.asarray(values)[free:], np.asarray(modes)[:, free:]
    response = (modes / values) @ modes.T
    if pattern is None:
        force, reading, node_scores, parts = _from_softest_mode(network, modes[:, 0])
    else:
        force, reading, node_scores, parts = _from_imprint(network, pattern)
    size = network.dimension
    terminals = tuple(int(np.argmax(np.abs(row))) // size for row in (force, reading))
    x = response @ force
    answers = response @ reading
    stiff = np.asarray(network.edge_form(jnp.asarray(x), jnp.asarray(answers)))
    fields: dict[str, Any] = {
        "k": ("edge", np.asarray(network.k)),
        "edges": (("edge", "end"), edge_ends(network)),
        "softest_mode": ("coordinate", modes[:, 0]),
        "force": ("coordinate", force),
        "response": ("coordinate", x),
        "stiff_direction": ("edge", stiff / max(np.linalg.norm(stiff), np.finfo(float).tiny)),
        "susceptibility": ("edge", _susceptibility(network, response)),
        "node_score": ("node", node_scores),
        "edge_score": ("edge", parts),
    }
    # Held at the two nodes it is another network: what the edges do then to the rest.
    rows = np.stack([force, reading])
    between = rows @ response @ rows.T
    held = response - response @ rows.T @ np.linalg.pinv(between, hermitian=True) @ rows @ response
    fields["susceptibility_held"] = ("edge", _susceptibility(network, held))
    if pattern is not None:
        fields["relative_conductance"] = ("edge", np.asarray(relative_conductance(network)))
        if network.topology.positions is not None:
            fields["positions"] = (("node", "axis"), np.asarray(network.topology.positions))
        if network.topology.box is not None:
            fields["box"] = ("axis", np.asarray(network.topology.box))
    if isinstance(network, FlowNetwork):
        found = sectors(network.topology, x, _PERSISTENCE * float(np.ptp(x)))
        drops = np.asarray(network.topology.differences(jnp.asarray(x)))
        fields |= {
            "sector": ("node", found.labels),
            "wall": ("edge", found.boundary),
            "current": ("edge", np.asarray(network.k) * np.abs(drops)),
        }
    kind = _KINDS[type(network)]
    facts = {"kind": kind, "num_nodes": network.num_nodes, "num_edges": network.num_edges}
    return terminals, node_scores, parts, xr.Dataset(fields, attrs=facts)


def _susceptibility(network: Any, response: np.ndarray) -> np.ndarray:
    """`|∂G/∂kᵢ|` of every edge, from a Green's function."""
    if isinstance(network, NodeNetwork):
        gram = response @ response.T
        a, b = np.triu_indices(network.num_nodes)
        squares = gram[a, a] * gram[b, b]
        return np.sqrt(np.where(a == b, squares, 2 * (squares + gram[a, b] ** 2)))
    return np.asarray(jnp.sum(network.strains(jnp.asarray(response)) ** 2, axis=(0, 2)))


def _from_imprint(network: Any, pattern: Pattern) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Force and reading between which the imprint is strongest, and what each node and edge has of it."""
    scores = np.asarray(_imprint(network, pattern))
    strength = np.array(between_nodes(network, jnp.asarray(scores)))
    np.fill_diagonal(strength, 0)
    source, target = np.unravel_index(int(np.argmax(strength)), strength.shape)
    n, d = network.num_coordinates, network.dimension
    block = scores.reshape(network.num_nodes, d, network.num_nodes, d)[source, :, target]
    left, _, right = np.linalg.svd(block)
    force, reading = np.zeros(n), np.zeros(n)
    force[d * source : d * (source + 1)], reading[d * target : d * (target + 1)] = left[:, 0], right[0]
    k = np.asarray(network.k) - np.asarray(network.k).mean()
    nuisance = np.asarray(pattern.nuisance)
    k = k - nuisance @ (nuisance.T @ k)
    strains = [jnp.asarray(np.asarray(pattern.response) @ row) for row in (force, reading)]
    parts = -k * np.asarray(network.edge_form(*strains))
    parts = parts * np.sign(parts.sum())
    return force, reading, strength.max(axis=1), parts / max(np.abs(parts).sum(), np.finfo(float).tiny)


@eqx.filter_jit
def _imprint(network: Any, pattern: Pattern) -> Float[Array, "n n"]:
    return imprint(network, pattern, network.k)


def _from_softest_mode(
    network: NodeNetwork, mode: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two nodes that have most of the softest mode, and what makes it soft."""
    shares = mode**2
    first, second = np.argsort(-shares)[:2]
    force, reading = np.zeros((2, network.num_coordinates))
    force[first], reading[second] = 1, 1
    k, kinds = np.asarray(network.k), nulls.classes(network)
    usual = np.array([np.median(k[kinds == 0]), np.median(k[kinds == 1])])[kinds]
    energy = 2 * np.asarray(network.edge_energies(jnp.asarray(mode)))
    parts = (usual - k) * energy
    return force, reading, shares, parts / np.abs(parts).sum()
