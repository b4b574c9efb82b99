"""What can be told of a task before it is learned: voltages that no positive conductances can make."""

from typing import Any

import numpy as np

from jaxphys.networks import FlowNetwork
from jaxphys.tasks import SquaredError, holds_nodes


def concerns(network: Any, task: Any) -> list[str]:
    """Sentences on what cannot be, or can hardly be, learned; empty if nothing is wrong.

    For flow networks (one and its task, or ensembles of both) whose inputs are voltages at held nodes. There
    every voltage lies between the lowest and the highest one held (the maximum principle), so targets beyond
    cannot be reached; and a target next to a ground is nearly fixed by the one edge between them.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    >>> jp.concerns(network, jp.allostery(network, boundary, [], [1], response=1.5))[0].split(":")[0]
    'Targets are out of reach in 1 of 1 realizations'
    """
    if not isinstance(network, FlowNetwork) or not holds_nodes(task):
        return []
    names = ("force", "values", "inputs", "readout", "targets")
    arrays = {name: np.asarray(getattr(task, name)) for name in names}
    rows, edges = np.asarray(task.boundary.rows), np.asarray(network.topology.edges)
    if arrays["values"].shape[-1] == 0 or np.any(arrays["force"]):
        return []
    if arrays["force"].ndim == 2:
        arrays = {name: array[None] for name, array in arrays.items()}
        rows, edges = rows[None], edges[None]
    count = len(rows)
    edges = np.broadcast_to(edges, (count, *edges.shape[-2:]))
    weights = None if task.weights is None else np.asarray(task.weights).reshape(arrays["targets"].shape)
    out_of_reach, beside = [], []
    for r in range(count):
        one = {name: array[r] for name, array in arrays.items()}
        if isinstance(task.cost, SquaredError):
            worst = _beyond(one, rows[r], None if weights is None else weights[r])
            if worst is not None:
                out_of_reach.append((r, *worst))
        pair = _beside_ground(one["readout"], rows[r], one["values"].shape[-1], edges[r])
        if pair is not None:
            beside.append((r, *pair))
    found = []
    if out_of_reach:
        r, sample, output, target, low, high = out_of_reach[0]
        found.append(
            f"Targets are out of reach in {len(out_of_reach)} of {count} realizations: sample {sample} of "
            f"realization {r} wants {target:.3g} of output {output}, which lies between {low:.3g} and "
            f"{high:.3g} whatever the conductances; lower the target or raise the inputs."
        )
    if beside:
        r, output, node, ground = beside[0]
        found.append(
            f"Targets lie next to a ground in {len(beside)} of {count} realizations: output {output} of "
            f"realization {r} reads node {node}, which an edge joins to node {ground}; move one of them if "
            "you can."
        )
    return found


def _beyond(
    one: dict[str, np.ndarray], rows: np.ndarray, weights: np.ndarray | None
) -> tuple[int, int, float, float, float] | None:
    """Sample and output whose target is farthest out of reach, with the bounds; None if all are within."""
    voltages = one["inputs"] @ one["values"]
    if len(rows) > voltages.shape[1]:
        voltages = np.column_stack([voltages, np.zeros(len(voltages))])
    low, high = voltages.min(axis=1), voltages.max(axis=1)
    plus, minus = np.maximum(one["readout"], 0).sum(axis=1), np.minimum(one["readout"], 0).sum(axis=1)
    least, most = np.outer(low, plus) + np.outer(high, minus), np.outer(high, plus) + np.outer(low, minus)
    excess = np.maximum(one["targets"] - most, least - one["targets"])
    if weights is not None:
        excess = np.where(weights > 0, excess, -np.inf)
    rounding = 1e-5 * np.maximum(np.abs(least), np.abs(most)).max(initial=0.0)
    if excess.max() <= rounding:
        return None
    sample, output = np.unravel_index(np.argmax(excess), excess.shape)
    place = (sample, output)
    target = float(one["targets"][place])
    return int(sample), int(output), target, float(least[place]), float(most[place])


def _beside_ground(
    readout: np.ndarray, rows: np.ndarray, num_held: int, edges: np.ndarray
) -> tuple[int, int, int] | None:
    """An output that reads a node next to a ground, that node, and the ground; None if it can't be helped."""
    size = readout.shape[1]
    grounds = np.flatnonzero(np.any(rows[num_held:] != 0, axis=0))
    touching = edges[np.isin(edges, grounds).any(axis=1)]
    near = np.setdiff1d(touching, grounds)
    held = np.flatnonzero(np.any(rows != 0, axis=0))
    if np.setdiff1d(np.arange(size), np.concatenate([near, held])).size == 0:
        return None
    for output, row in enumerate(readout):
        nodes = np.flatnonzero(row)
        if len(nodes) == 1 and nodes[0] in near:
            ends = touching[(touching == nodes[0]).any(axis=1)][0]
            return output, int(nodes[0]), int(ends[ends != nodes[0]][0])
    return None
