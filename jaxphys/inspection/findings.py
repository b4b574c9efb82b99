"""The result of an inspection: a verdict, the evidence, and what the physics of the network shows."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxphys.diagnostics import relative_conductance, sectors
from jaxphys.diagnostics._spectrum import peaked_mode
from jaxphys.diagnostics._susceptibility import susceptibility_of_response
from jaxphys.inspection import nulls
from jaxphys.inspection.statistics import Pattern, between_nodes, imprint
from jaxphys.networks.physics import AbstractNetwork

if TYPE_CHECKING:
    import xarray

TrainingVerdict = Literal["trained", "not distinguishable", "unusual"]
# By null model and statistic: the network's own value first, then those of the draws.
Pools = dict[str, dict[str, np.ndarray]]

# Walls of a response persist over at least this share of its range (Guzman et al. (2024), section V A).
_PERSISTENCE = 0.05
# A node network has an entry of k for every pair of nodes; at most so many edges are listed.
_MOST_EDGES = 100_000


class Statistic(NamedTuple):
    """One number of the network beside those of a null model.

    - `value`: of the network; `null_mean`, `null_std`: of the draws of the null model.
    - `band`: the middle 95 % of the draws.
    - `z`: `(value - null_mean) / null_std`, 0 if the draws do not vary.
    - `p`: two-sided p-value by the add-one rule.
    - `p_corrected`: the same of the largest `|z|` of all statistics, which corrects for their number
      (Westfall and Young, Resampling-Based Multiple Testing, 1993; there the network counts among its draws).
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
    """The result of `inspect_network` and `inspect_responses`.

    - `verdict`: `"trained"` if `p_value` is at most the significance; `"unusual"` if the network differs from
      its null models in some other way; else `"not distinguishable"`. `reasons`: why, in sentences.
    - `p_value`: probability that an untrained network looks as trained as this one, the largest over null
      models; 1 where something other than training explains the network better.
    - `statistics`: by name, against `shuffled`; `null_models`: the same against every null model.
    - `terminals`: the two nodes between which the response looks trained, in either order.
    - `node_scores`: `(N,)`, `edge_scores`: `(M,)`: strength of the evidence for each; larger is more.
    - `labels`: names of the nodes; `network`: the network that was inspected.
    - `fields`: labelled arrays behind the pictures: spectrum and null band, inferred force and response,
      susceptibilities, relative conductances, sectors, stiff direction.
    """

    verdict: TrainingVerdict
    p_value: float
    reasons: tuple[str, ...]
    statistics: dict[str, Statistic]
    null_models: dict[str, dict[str, Statistic]]
    terminals: tuple[int, int]
    node_scores: Float[np.ndarray, " N"]
    edge_scores: Float[np.ndarray, " M"]
    labels: tuple[str, ...]
    network: AbstractNetwork
    fields: "xarray.Dataset"

    def as_json(self) -> dict[str, object]:
        """The content of `findings.json`; nodes and edges with the highest score first."""
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
            "terminals": [self.labels[node] for node in self.terminals] if self.node_scores.any() else [],
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
                for edge in np.argsort(-self.edge_scores, kind="stable")[:_MOST_EDGES].tolist()
            ],
            "settings": dict(self.fields.attrs),
        }


def assembled(
    network: AbstractNetwork,
    free: int,
    pattern: Pattern | None,
    pools: dict[str, dict[str, np.ndarray]],
    labels: tuple[str, ...] | None,
    verdict: TrainingVerdict,
    p_value: float,
    reasons: tuple[str, ...],
    facts: Mapping[str, bool | int | float | str],
) -> Findings:
    """Put `Findings` together: scores of nodes and edges, fields and tables of statistics.

    **Arguments**

    - `network`: what was inspected. `free`: how many zero modes it has.
    - `pattern`: the imprint that a graph allows; None for node networks.
    - `pools`: statistics by null model; `statistics` of the result are those against the first one.
    - `labels`: names of the nodes; those of the network if None.
    - `verdict`, `p_value`, `reasons`: as in `Findings`. `facts`: settings, kept as attributes of the fields.
    """
    terminals, node_scores, edge_scores, fields = _readings(network, free, pattern)
    null_models = {null: against(pool) for null, pool in pools.items()}
    spectra = pools.get("shuffled", pools[next(iter(pools))])["eigenvalues"]
    band = np.quantile(spectra[1:], [0.025, 0.975], axis=0)
    fields = fields.assign(eigenvalues=("mode", spectra[0]), null_eigenvalues=(("bound", "mode"), band))
    return Findings(
        verdict,
        p_value,
        reasons,
        next(iter(null_models.values())),
        null_models,
        terminals,
        node_scores,
        edge_scores,
        labels or network.node_names,
        network,
        fields.assign_attrs(**facts),
    )


def edge_ends(network: AbstractNetwork) -> np.ndarray:
    """`(M, 2)`: the nodes that every entry of k joins; in a node network the upper triangle with diagonal."""
    return np.asarray(network.topology.edges)


def against(pool: dict[str, np.ndarray]) -> dict[str, Statistic]:
    """Every statistic of a pool as a `Statistic`: its first value beside the others."""
    names = [name for name in pool if name != "eigenvalues"]
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
            float((values[0, i] - draws.mean()) / draws.std()) if z[:, i].any() and draws.std() > 0 else 0.0,
            min(1.0, 2 * tails),
            float(np.mean(largest >= abs(z[0, i]) - 1e-9)),
        )
    return table


def _readings(
    network: AbstractNetwork, free: int, pattern: Pattern | None
) -> tuple[tuple[int, int], np.ndarray, np.ndarray, "xarray.Dataset"]:
    """The two suspected nodes, scores of nodes and of edges, and the fields behind the pictures."""
    values, modes = jnp.linalg.eigh(network.hessian())
    softest = np.asarray(peaked_mode(values[free:], modes[:, free:].T, 0))
    values, modes = np.asarray(values)[free:], np.asarray(modes)[:, free:]
    response = (modes / values) @ modes.T
    if pattern is None:
        force, reading, node_scores, parts = _from_softest_mode(network, softest)
    else:
        force, reading, node_scores, parts = _from_imprint(network, pattern)
    size = network.dimension
    source, target = (int(np.argmax(np.abs(row))) // size for row in (force, reading))
    x = response @ force
    adjoint = response @ reading
    stiff = np.asarray(network.edge_form(jnp.asarray(x), jnp.asarray(adjoint)))
    fields: dict[str, tuple[str | tuple[str, ...], np.ndarray]] = {
        "k": ("edge", np.asarray(network.k)),
        "edges": (("edge", "end"), edge_ends(network)),
        "softest_mode": ("coordinate", softest),
        "force": ("coordinate", force),
        "response": ("coordinate", x),
        "stiff_direction": ("edge", stiff / max(np.linalg.norm(stiff), np.finfo(float).tiny)),
        "susceptibility": ("edge", np.asarray(susceptibility_of_response(network, jnp.asarray(response)))),
        "node_score": ("node", node_scores),
        "edge_score": ("edge", parts),
    }
    # Susceptibility with the two nodes held: how the edges affect the response of the others.
    rows = np.stack([force, reading])
    between = rows @ response @ rows.T
    held = response - response @ rows.T @ np.linalg.pinv(between, hermitian=True) @ rows @ response
    fields["susceptibility_held"] = (
        "edge",
        np.asarray(susceptibility_of_response(network, jnp.asarray(held))),
    )
    if pattern is not None:
        fields["relative_conductance"] = ("edge", np.asarray(relative_conductance(network)))
    topology = network.topology
    if topology.positions is not None:
        fields["positions"] = (("node", "axis"), np.asarray(topology.positions))
    if topology.box is not None:
        fields["box"] = ("axis", np.asarray(topology.box))
    if network.kind.is_laplacian:
        found = sectors(network.topology, x, _PERSISTENCE * float(np.ptp(x)))
        drops = np.asarray(network.topology.differences(jnp.asarray(x)))
        fields |= {
            "sector": ("node", found.labels),
            "wall": ("edge", found.boundary),
            "current": ("edge", np.asarray(network.k) * np.abs(drops)),
        }
    facts = {"kind": network.kind.tag, "num_nodes": network.num_nodes, "num_edges": network.num_edges}
    import xarray

    return (source, target), node_scores, parts, xarray.Dataset(fields, attrs=facts)


def _from_imprint(
    network: AbstractNetwork, pattern: Pattern
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Force and reading between which the imprint is strongest, and the shares of nodes and edges in it."""
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
def _imprint(network: AbstractNetwork, pattern: Pattern) -> Float[Array, "n n"]:
    return imprint(network, pattern, network.k)


def _from_softest_mode(
    network: AbstractNetwork, mode: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two nodes with the largest shares of the softest mode, and how far each edge makes it soft."""
    of_nodes = (mode**2).reshape(network.num_nodes, -1)
    shares = of_nodes.sum(axis=1)
    force, reading = np.zeros((2, network.num_nodes, network.dimension))
    for row, node in zip((force, reading), np.argsort(-shares)[:2], strict=True):
        row[node, np.argmax(of_nodes[node])] = 1
    force, reading = force.ravel(), reading.ravel()
    k, kinds = np.asarray(network.k), nulls.classes(network)
    usual = np.array([np.median(k[kinds == kind]) for kind in range(kinds.max() + 1)])[kinds]
    energy = 2 * np.asarray(network.edge_energies(jnp.asarray(mode)))
    parts = (usual - k) * energy
    return force, reading, shares, parts / max(np.abs(parts).sum(), np.finfo(float).tiny)
