"""Was this network trained, and for what? From measured responses, without its graph."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from jaxphys._checks import check_indices, require, to_array
from jaxphys.inspection import nulls
from jaxphys.inspection.findings import Findings, Pools, Statistic, TrainingVerdict, against, assembled
from jaxphys.inspection.fitting import fit_conductances
from jaxphys.inspection.reconstruction import NOTHING, Reconstruction, bonds, reconstruct
from jaxphys.inspection.squares import strange_responses
from jaxphys.inspection.verdicts import check, evidence, host_statistics, inspect_network, pools_of
from jaxphys.networks.physics import FlowNetwork, NodeNetwork
from jaxphys.networks.topology import Topology, from_edges

# If more modes than this stand out from random directions, it is not because of one or two tasks.
_FEW = 4


def inspect_responses(
    responses: Float[np.ndarray, "n m"],
    *,
    errors: Float[np.ndarray, "n m"] | None = None,
    driven: Int[np.ndarray, " m"] | None = None,
    labels: tuple[str, ...] | None = None,
    topology: Topology | None = None,
    matrix: str | None = None,
    num_null: int = 200,
    significance: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> Findings:
    """Was this network trained, and for what? From measured responses alone, without its graph.

    The Hessian is reconstructed (`reconstruct`, in `jaxphys.inspection.reconstruction`). Where errors are
    small enough to resolve which nodes are joined, the network is inspected as by `inspect_network`. Where
    the readings are those of a flow network, but do not resolve its edges, no verdict is given: the graph is
    needed. With a `topology` its conductances are fitted to the readings (`fit_conductances`) and inspected.
    Otherwise the network is treated as fully connected, and called trained if both

    - one response between different nodes stands out more than with the measured spectrum and modes in random
      directions (`rotated`; Stern et al. (2023), section III D), and does so because of a few modes only:
      where all neighbours respond together, as on a sparse graph, that is no sign of training;
    - the Hessian is softer than with its entries in random places (`shuffled`).

    **Arguments**

    - `responses`: `(n, m)` reading of node i under a unit force on the j-th driven node, in units of 1/k.
    - `errors`: `(n, m)` standard deviations of the readings; estimated from their asymmetry if left out.
    - `driven`: `(m,)` which rows are the driven nodes; all, in order, if left out. Other rows are not used.
    - `topology`: the graph of a flow network, where it is known; its nodes are the rows, all of them driven.
    - `matrix`: `"responses"` accepts a square matrix even if it looks like something else, such as an
      adjacency matrix or a Hessian.
    - the others as in `inspect_network`.

    **Returns** `Findings`.

    Raises `InputError` on shapes that do not fit, readings that are not finite, fewer than 4 driven nodes,
    readings that do not rise above their errors, or a square that looks like something else.

    >>> import numpy as np, jaxphys as jp
    >>> soft = np.zeros(12)
    >>> soft[[2, 7]] = 1.0
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((12, 12))
    >>> found = jp.inspect_responses(np.eye(12) + 5 * np.outer(soft, soft) + noise + noise.T)
    >>> found.verdict, sorted(found.terminals)
    ('trained', [2, 7])
    """
    responses = to_array("responses", responses, float)
    require(matrix in (None, "responses"), "matrix", "be responses or left out", f"it is {matrix!r}")
    if matrix is None:
        _check_square(responses, driven)
    if topology is not None:
        return _on_graph(topology, responses, errors, driven, labels, num_null, significance, seed, progress)
    square, spread, names = _square(responses, errors, driven, labels)
    found = reconstruct(square, spread)
    facts = {"resolved": found.resolved, "noise": found.noise}
    resolved = _resolved(found, names)
    if resolved is not None:
        network, names = resolved
        result = inspect_network(
            network,
            labels=names,
            num_null=num_null,
            significance=significance,
            seed=seed,
            progress=progress,
        )
        seen = f"The readings resolve a flow network of {network.num_edges} edges."
        fields = result.fields.assign_attrs(**facts)
        return dataclasses.replace(result, reasons=(*result.reasons, seen), fields=fields)
    return _fully_connected(found, names, facts, num_null, significance, seed, progress)


def _resolved(found: Reconstruction, names: tuple[str, ...]) -> tuple[FlowNetwork, tuple[str, ...]] | None:
    """The connected flow network that the readings resolve, and the names of its nodes, if there is one."""
    resolved = bonds(found)
    if resolved is None:
        return None
    edges, k = resolved
    network = FlowNetwork(from_edges(edges), k)
    if network.num_nodes not in (len(names), len(names) + 1) or not network.topology.is_connected():
        return None
    return network, names + ("ground",) * (network.num_nodes - len(names))


def _fully_connected(
    found: Reconstruction,
    names: tuple[str, ...],
    facts: Mapping[str, bool | int | float | str],
    num_null: int,
    significance: float,
    seed: int,
    progress: bool,
) -> Findings:
    """Findings of readings that do not resolve edges, as of a fully connected network."""
    network = NodeNetwork.from_matrix(0.5 * (found.hessian + found.hessian.T))
    check(network, names, num_null, significance, seed)
    hidden = _hides_a_graph(found)
    generator = np.random.default_rng(seed)
    pools, p_value = _evidence(network, found, num_null, generator, progress)
    outstanding = 0
    if p_value <= significance and not hidden:
        outstanding = _standing_out(found, num_null, significance, generator)
    verdict, reasons = _verdict(against(pools["rotated"]), p_value, outstanding, significance, hidden)
    settings = {"num_null": num_null, "significance": significance, "seed": seed, "free_modes": found.free}
    facts = {**facts, **settings}
    if verdict == "unusual" or hidden:
        p_value = 1.0
    return assembled(network, found.free, None, pools, names, verdict, p_value, reasons, facts)


def _check_square(responses: np.ndarray, driven: np.ndarray | None) -> None:
    """Refuse a square matrix that looks like something else than responses."""
    rows = responses.shape[0] if responses.ndim == 2 else 0
    in_order = driven is None or np.array_equal(driven, np.arange(rows))
    if not rows or responses.shape != (rows, rows) or not in_order or not np.isfinite(responses).all():
        return
    strange = strange_responses(responses)
    require(
        strange is None,
        "responses",
        "hold responses (the network of another matrix goes to `inspect_network`; "
        "`matrix='responses'` says that these are meant)",
        f"{strange}",
    )


def _on_graph(
    topology: Topology,
    responses: np.ndarray,
    errors: np.ndarray | None,
    driven: np.ndarray | None,
    labels: tuple[str, ...] | None,
    num_null: int,
    significance: float,
    seed: int,
    progress: bool,
) -> Findings:
    """Findings of the network on this graph whose responses fit the readings best."""
    size = topology.num_nodes
    order = np.arange(size) if driven is None else np.asarray(driven)
    require(
        np.shape(responses) == (size, size) and sorted(order.tolist()) == list(range(size)),
        "responses",
        f"drive and read each of the {size} nodes of the graph",
        f"their shape is {np.shape(responses)}, with {len(order)} nodes driven",
    )
    columns = np.argsort(order)
    values = np.asarray(responses, dtype=float)[:, columns]
    require(np.isfinite(values).all(), "responses", "be finite", "it holds NaN or infinity")
    spread = None if errors is None else _spread(errors, (size, size))[:, columns]
    fit = fit_conductances(topology, values, spread)
    result = inspect_network(
        fit.network,
        labels=labels,
        num_null=num_null,
        significance=significance,
        seed=seed,
        progress=progress,
    )
    relative = float(np.median(fit.errors / np.asarray(fit.network.k)))
    seen = f"Conductances fitted to the readings on the given graph, with errors of {100 * relative:.2g} %."
    fields = result.fields.assign(k_error=("edge", fit.errors))
    return dataclasses.replace(result, reasons=(*result.reasons, seen), fields=fields)


def _square(
    responses: np.ndarray,
    errors: np.ndarray | None,
    driven: np.ndarray | None,
    labels: tuple[str, ...] | None,
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Responses of the driven nodes to forces on each other, their errors, and the names of these nodes."""
    values = np.asarray(responses, dtype=float)
    require(values.ndim == 2 and values.size > 0, "responses", "be a matrix", f"its shape is {values.shape}")
    require(np.isfinite(values).all(), "responses", "be finite", "it holds NaN or infinity")
    rows, columns = values.shape
    nodes = np.arange(columns) if driven is None else np.asarray(driven)
    require(
        nodes.shape == (columns,) and len(set(nodes.tolist())) == columns and rows >= columns,
        "driven",
        f"name {columns} different rows, one for each column",
        f"it is {nodes.tolist()} for responses of shape {values.shape}",
    )
    check_indices("driven", nodes, rows, "rows")
    require(labels is None or len(labels) == rows, "labels", f"name {rows} nodes", f"it is {labels}")
    require(columns >= 4, "responses", "drive at least 4 nodes", f"they drive {columns}")
    spread = None
    if errors is not None:
        spread = _spread(errors, values.shape)[nodes]
    square = values[nodes]
    # A held node never responds, and forces on it have no effect.
    responds = np.abs(square) > NOTHING * np.abs(square).max()
    moving = responds.any(axis=1) & responds.any(axis=0)
    require(moving.sum() >= 4, "responses", "have at least 4 nodes that answer", f"it has {moving.sum()}")
    kept = np.ix_(moving, moving)
    names = labels or tuple(str(node) for node in range(rows))
    return (
        square[kept],
        None if spread is None else spread[kept],
        tuple(names[node] for node in nodes[moving].tolist()),
    )


def _spread(errors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    spread = np.asarray(errors, dtype=float)
    require(
        spread.shape == shape and bool((spread >= 0).all() and np.isfinite(spread).all()),
        "errors",
        f"be numbers of at least 0 of shape {shape}",
        f"its shape is {spread.shape}",
    )
    return spread


def _evidence(
    matrix: NodeNetwork,
    found: Reconstruction,
    num_null: int,
    generator: np.random.Generator,
    progress: bool,
) -> tuple[Pools, float]:
    """Statistics of the network and of its null models, and the p-value of looking trained."""
    values, modes = _response_modes(found)
    rotated = _rotated(1 / values, modes, num_null, generator)
    own = np.asarray(matrix.k)[None]
    pools: Pools = {"rotated": host_statistics(matrix, found.free, None, np.concatenate([own, rotated]))}
    z = nulls.standardised(pools["rotated"]["peak_response"][:, None])[:, 0]
    p_value = nulls.pooled_p(z)
    if not found.free:
        pools |= pools_of(matrix, 0, None, num_null, generator, progress=progress)
        softer, _ = evidence(matrix, {"shuffled": pools["shuffled"]})
        p_value = max(p_value, softer)
    return pools, p_value


def _response_modes(found: Reconstruction) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the response, raised to the floor, and its modes, without the free one."""
    values, modes = np.linalg.eigh(found.response)
    if found.free:
        still = int(np.argmax(np.abs(modes.sum(axis=0))))
        values, modes = np.delete(values, still), np.delete(modes, still, axis=1)
    return np.maximum(values, found.floor), modes


def _hides_a_graph(found: Reconstruction) -> bool:
    """Whether the responses look like those of a flow network, whose nodes never move against a force.

    A floating flow network has a free uniform motion; in a grounded one all responses have one sign.
    """
    between = found.response[~np.eye(len(found.response), dtype=bool)]
    return bool(found.free) or bool(np.mean(between > 0) > 0.9)


def _rotated(
    values: Float[np.ndarray, " v"],
    modes: Float[np.ndarray, "m v"],
    num_null: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "b M"]:
    """k of matrices with these eigenvalues and random modes in the space that `modes` span."""
    upper = np.triu_indices(len(modes))
    drawn = np.empty((num_null, len(upper[0])))
    for row in drawn:
        turned = modes @ np.linalg.qr(generator.standard_normal((len(values), len(values))))[0]
        row[:] = ((turned * values) @ turned.T)[upper]
    return drawn


def _standing_out(
    found: Reconstruction, num_null: int, significance: float, generator: np.random.Generator
) -> int:
    """How many of the softest modes must be removed until the others look random, at most `_FEW + 1`."""
    values, modes = _response_modes(found)
    order = np.argsort(-values)
    values, modes = values[order], modes[:, order]
    upper = np.triu_indices(len(modes), 1)

    def peak(k: np.ndarray) -> float:
        between = np.abs(k[upper])
        return float(between.max() / np.sqrt(np.mean(between**2)))

    most = min(len(values) - 4, _FEW + 1)
    for gone in range(1, most):
        left, axes = values[gone:], modes[:, gone:]
        own = peak((axes * left) @ axes.T)
        draws = num_null // 2
        turned = (np.linalg.qr(generator.standard_normal((len(left), len(left))))[0] for _ in range(draws))
        above = sum(peak((axes @ turn * left) @ (axes @ turn).T) >= own for turn in turned)
        if (1 + above) / (1 + draws) > significance:
            return gone
    return max(1, most)


def _verdict(
    table: dict[str, Statistic], p_value: float, outstanding: int, significance: float, hidden: bool
) -> tuple[TrainingVerdict, tuple[str, ...]]:
    one = table["peak_response"]
    seen = (
        f"The response between two nodes that stands out most is {one.value:.3g} times the root mean square, "
        f"{one.null_mean:.3g} ± {one.null_std:.2g} with modes in random directions"
    )
    how = "The readings do not resolve who is joined to whom: read as a fully connected network."
    if hidden:
        return "not distinguishable", (
            "Nodes answer like those of a flow network, but the errors hide its edges; without them training "
            "cannot be told from what neighbours do anyway: measure more closely, or name the edges.",
        )
    if p_value > significance:
        return "not distinguishable", (f"{seen}: within what chance does (p = {p_value:.2g}).", how)
    if outstanding > _FEW:
        return "unusual", (
            f"{seen}, but so do those of more than {_FEW} modes, as on a sparse graph, where neighbours "
            "answer together without any training; inspect the graph itself to tell.",
            how,
        )
    return "trained", (f"{seen} (p = {p_value:.2g}), because of its {outstanding} softest mode(s).", how)
