"""What can be said of a task before it is learned: targets that no network can reach, and what that costs.

Every concern is a function of one realization, in NumPy; `_CONCERNS` lists them with their headings.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from jaxphys._checks import require
from jaxphys.learning.costs import SquaredError
from jaxphys.learning.response import check_pair
from jaxphys.learning.task import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.networks.topology import component_labels


def concerns(network: AbstractNetwork, task: Task) -> list[str]:
    """Sentences on what cannot be, or can hardly be, learned; empty if nothing is wrong.

    For a network and its task, or ensembles of both. Where costs are squared errors the sentences give the
    cost below which learning cannot go:

    - Voltages lie between the lowest and the highest one held (the maximum principle), and a current pushes
      no voltage below the ground. A drop or voltage is at most the one across the source itself,
      `0 ≤ G_ij ≤ min(G_ii, G_jj)`. What lies exactly at such a bound is reached by no positive conductances,
      but in the limit of some that vanish or grow without end; unless all reach it, as where a source cuts
      an output off from the ground.
    - Driven by forces and read at the same places a network answers by `y = G_TT u`, with `G_TT` symmetric
      (reciprocity) and positive semidefinite. With input moments `M = Σ_i μ_i v_i v_iᵀ` and B the wanted map
      in that basis, `C ≥ ½ Σ_{i<j} μ_i μ_j / (μ_i + μ_j) (B_ij - B_ji)²`, and
      `½ min(μ) Σ min(0, λ)²` more, λ the eigenvalues of the symmetric map that is nearest.
    - Outputs that follow from one another, but targets that do not.

    And for voltages at held nodes: a target next to a ground is nearly fixed by the one edge between them.
    Raises `InputError` unless they are a network and its task, or ensembles of both.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    >>> jp.concerns(network, jp.allostery(network, boundary, [], [1], response=1.5))[0].split(":")[0]
    'Targets are out of reach in 1 of 1 realizations'
    """
    check_pair(network, task, ensembles=True)
    require(
        task.targets.shape[:-2] == network.k.shape[:-1],
        "task",
        "have the realizations of the network",
        f"they are stacked {task.targets.shape[:-2]} and {network.k.shape[:-1]}",
    )
    found: dict[str, list[str]] = {}
    cases = list(_cases(network, task))
    # The square of a target may be beyond all numbers; it is then reported as infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        for case in cases:
            for heading, examine in _CONCERNS:
                sentence = examine(case)
                if sentence is not None:
                    found.setdefault(heading, []).append(sentence)
    return [
        f"{heading} in {len(found[heading])} of {len(cases)} realizations: {found[heading][0]}"
        for heading, _ in _CONCERNS
        if heading in found
    ]


# How many rounding errors make no difference.
_ROUNDING = 32


@dataclasses.dataclass(frozen=True)
class _Case:
    """One realization and its task in float64; `edges` is None unless it is a flow network.

    `epsilon` is the rounding of the numbers as they were given.
    """

    number: int
    epsilon: float
    edges: np.ndarray | None
    k: np.ndarray
    rows: np.ndarray
    lift: np.ndarray
    force: np.ndarray
    values: np.ndarray
    inputs: np.ndarray
    readout: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    is_squared: bool
    is_dependent: bool

    @cached_property
    def driven(self) -> np.ndarray:
        """Coordinates on which a force acts: few beside samples and nodes."""
        return np.flatnonzero(self.force.any(axis=0))

    @cached_property
    def loads(self) -> np.ndarray:
        """`(R, d)` forces of every sample on the `driven` coordinates."""
        return self.inputs @ self.force[:, self.driven]

    @cached_property
    def held(self) -> np.ndarray:
        """`(R, c)` value of every row of the boundary in every sample."""
        values = self.inputs @ self.values
        return np.pad(values, ((0, 0), (0, len(self.rows) - values.shape[1])))

    @cached_property
    def holds_nodes(self) -> bool:
        return bool((np.count_nonzero(self.rows, axis=1) == 1).all())

    @property
    def is_driven_by_values(self) -> bool:
        return self.values.shape[1] > 0 and not np.any(self.force)

    @cached_property
    def is_driven_by_forces(self) -> bool:
        return bool(np.any(self.loads)) and not np.any(self.held)

    @cached_property
    def is_grounded(self) -> bool:
        """Whether no row of the boundary is a free motion that was projected out."""
        counts, sums = np.count_nonzero(self.rows, axis=1), np.abs(self.rows.sum(axis=1))
        return bool(((counts == 1) | ((counts == 2) & (sums < 1e-6))).all())

    def beside_rows(self, directions: np.ndarray) -> np.ndarray:
        """What is left of rows beside the span of those that are held."""
        left = directions - (directions @ self.lift) @ self.rows
        return np.where(np.abs(left) > 1e-6 * np.abs(directions).max(axis=1, keepdims=True), left, 0)

    @cached_property
    def drops(self) -> np.ndarray:
        """`(p, 2)` nodes between which a row holds the difference."""
        found = [np.flatnonzero(row) for row in self.rows if np.count_nonzero(row) == 2]
        return np.reshape(found, (-1, 2)).astype(int)

    @cached_property
    def is_held(self) -> np.ndarray:
        """`(n,)` which nodes are held, by rows of their own or by drops to such nodes."""
        nodes = np.any(self.rows[np.count_nonzero(self.rows, axis=1) == 1] != 0, axis=0)
        tied = component_labels(self.drops, len(nodes))
        return np.isin(tied, tied[nodes])

    @cached_property
    def regions(self) -> np.ndarray:
        """`(n,)` number of the part of a flow network in which a node lies once held nodes are cut out."""
        assert self.edges is not None
        ends = np.concatenate([self.edges, self.drops])
        return component_labels(ends[~self.is_held[ends].any(axis=1)], len(self.is_held))

    @cached_property
    def rounding(self) -> np.ndarray:
        """`(R, o)` what rounding may leave of an output; no response exceeds that of all edges in line."""
        assert self.edges is not None
        resistance = np.sum(1 / self.k[self.edges[:, 0] != self.edges[:, 1]])
        currents = np.abs(self.loads).sum(axis=1)
        return _ROUNDING * self.epsilon * resistance * np.outer(currents, np.abs(self.readout).sum(axis=1))

    @cached_property
    def terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The cost as `½ Σ weight (G_ij - wanted)²` over responses j → i between rows of the readout.

        Rows are scaled to a largest entry of one: unit currents into a node, or from one node to another.

        `(q,)` rows of the readout that differ; `(q, q)` weights and wanted responses, of i to j at `[i, j]`,
        and samples and outputs that want them. Only samples that are driven at one of these rows.
        """
        readout, force = self.beside_rows(self.readout), self.beside_rows(self.force)
        squares = np.sum(readout**2, axis=1)
        label, turned = _matched(readout @ readout.T, squares, squares)
        strengths = np.sum(self.inputs @ (force @ force.T) * self.inputs, axis=1)
        source, driven = _matched(self.inputs @ (force @ readout.T), strengths, squares)
        sizes = np.abs(readout).max(axis=1)
        scale = (driven * sizes[source] * (source >= 0))[:, None] * (turned * sizes[label])
        samples, outputs = np.nonzero((scale != 0) & (self.weights > 0))
        distinct = np.unique(label)
        place = np.full(len(label), -1)
        place[distinct] = np.arange(len(distinct))
        at = (place[label[outputs]], place[source[samples]])
        ratio, weight = scale[samples, outputs], self.weights[samples, outputs]
        weights, sums = np.zeros((len(distinct),) * 2), np.zeros((len(distinct),) * 2)
        where = np.full((*weights.shape, 2), -1)
        np.add.at(weights, at, weight * ratio**2)
        np.add.at(sums, at, weight * ratio * self.targets[samples, outputs])
        where[at] = np.stack([samples, outputs], axis=1)
        wanted = sums / np.where(weights > 0, weights, 1)
        return distinct, weights, wanted, where[..., 0], where[..., 1]


def _cases(network: AbstractNetwork, task: Task) -> Iterator[_Case]:
    """Every realization by itself."""
    names = ("force", "values", "inputs", "readout", "targets")
    arrays = {name: np.asarray(getattr(task, name), dtype=float) for name in names}
    arrays["rows"] = np.asarray(task.boundary.rows, dtype=float)
    arrays["lift"] = np.asarray(task.boundary.constraints.lift, dtype=float)
    weights = np.ones(arrays["targets"].shape) if task.weights is None else np.asarray(task.weights, float)
    arrays["weights"] = weights / (task.num_samples if task.reduction == "mean" else 1)
    if network.kind.is_laplacian:
        arrays["edges"] = np.asarray(network.topology.edges)
        arrays["k"] = np.asarray(network.k, dtype=float)
    if arrays["targets"].ndim == 2:
        arrays = {name: array[None] for name, array in arrays.items()}
    count = len(arrays["targets"])
    if "edges" in arrays:
        arrays["edges"] = np.broadcast_to(arrays["edges"], (count, *arrays["edges"].shape[-2:]))
    is_squared, epsilon = isinstance(task.cost, SquaredError), float(np.finfo(task.targets.dtype).eps)
    for number in range(count):
        one = {name: array[number] for name, array in arrays.items()}
        edges, k = one.pop("edges", None), one.pop("k", np.zeros(0))
        yield _Case(number, epsilon, edges, k, is_squared=is_squared, is_dependent=task.dependent, **one)


def _matched(products: np.ndarray, squares: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of other rows to which each row is parallel (-1: none), and how many times it.

    From products `(p, q)` between them, and squares `(p,)` and `(q,)`.
    """
    lengths = np.sqrt(np.maximum(squares, 0)[:, None] * others)
    parallel = 1 - np.abs(products) / np.where(lengths > 0, lengths, np.inf) < 1e-10
    first = np.argmax(parallel, axis=1)
    ratio = products[np.arange(len(products)), first] / others[first]
    return np.where(parallel.any(axis=1), first, -1), ratio


def _beyond_voltages(case: _Case) -> str | None:
    """The target that is farthest outside the voltages that are held around its output."""
    if case.edges is None or not (case.is_squared and case.is_driven_by_values and case.holds_nodes):
        return None
    least, most = _reachable(case)
    excess = np.maximum(case.targets - most, least - case.targets)
    excess = np.where(case.weights > 0, excess, -np.inf)
    rounding = _ROUNDING * case.epsilon * np.abs(case.held).max() * np.abs(case.readout).sum(axis=1).max()
    if excess.max() <= max(1e-5 * np.maximum(np.abs(least), np.abs(most)).max(initial=0.0), rounding):
        return None
    sample, output = np.unravel_index(np.argmax(excess), excess.shape)
    low, high = least[sample, output], most[sample, output]
    where = f"lies between {low:.3g} and {high:.3g}" if low < high else f"is {low:.3g}"
    return (
        f"sample {sample} of realization {case.number} wants {case.targets[sample, output]:.3g} of output "
        f"{output}, which {where} whatever the conductances, so that the cost stays above "
        f"{_half(case.weights, np.maximum(excess, 0)):.3g}; lower the target or raise the inputs."
    )


def _reachable(case: _Case) -> tuple[np.ndarray, np.ndarray]:
    """`(R, o)` least and largest output under the voltages of nodes that are held."""
    assert case.edges is not None
    voltages, nodes = case.held, np.argmax(case.rows != 0, axis=1)
    voltages = voltages / case.rows[np.arange(len(nodes)), nodes]
    read = np.flatnonzero(case.readout.any(axis=0))
    low, high = (np.full((len(voltages), len(read)), end) for end in (np.inf, -np.inf))
    # A region sees what its border holds, a held node itself.
    ends = np.concatenate([case.edges, case.edges[:, ::-1]])
    for node, voltage in zip(nodes, voltages.T, strict=True):
        beside = case.regions[ends[ends[:, 0] == node, 1]]
        seen = np.isin(case.regions[read], beside) & ~np.isin(read, nodes) | (read == node)
        low[:, seen] = np.minimum(low[:, seen], voltage[:, None])
        high[:, seen] = np.maximum(high[:, seen], voltage[:, None])
    # What nothing holds is padding.
    low, high = (np.where(np.isfinite(each), each, 0) for each in (low, high))
    plus, minus = np.maximum(case.readout[:, read], 0).T, np.minimum(case.readout[:, read], 0).T
    return low @ plus + high @ minus, high @ plus + low @ minus


def _against_currents(case: _Case) -> str | None:
    """The largest target on the side of the ground to which its currents cannot push it."""
    if not (case.is_squared and case.edges is not None and case.is_driven_by_forces and case.is_grounded):
        return None
    sign = _pushed(case)
    wrong = np.where(np.isnan(sign), 0, np.where(sign == 0, 1, np.maximum(-sign * np.sign(case.targets), 0)))
    missed = np.where(case.weights > 0, wrong * np.abs(case.targets), 0)
    if not np.any(missed > np.maximum(case.rounding, case.epsilon * np.abs(case.targets).max(initial=0.0))):
        return None
    sample, output = np.unravel_index(np.argmax(missed), missed.shape)
    side = {1.0: "at least 0", -1.0: "at most 0", 0.0: "0"}[float(sign[sample, output])]
    return (
        f"sample {sample} of realization {case.number} wants {case.targets[sample, output]:.3g} of output "
        f"{output}, which is {side} under these currents whatever the conductances, so that the cost stays "
        f"above {_half(case.weights, missed):.3g}; turn the target or the currents."
    )


def _pushed(case: _Case) -> np.ndarray:
    """`(R, o)` sign of an output under a sample's currents, 0 if they cannot reach it, NaN if it depends."""
    free = 1.0 - case.is_held
    loads, readout = case.loads * free[case.driven], case.readout * free
    signs = [
        np.where((rows >= 0).all(axis=1), 1.0, np.where((rows <= 0).all(axis=1), -1.0, np.nan))
        for rows in (loads, readout)
    ]
    member = (case.regions[:, None] == np.unique(case.regions[case.driven])).astype(float)
    meets = ((loads != 0) @ member[case.driven] > 0).astype(float) @ ((readout != 0) @ member > 0).T > 0
    return np.where(meets, signs[0][:, None] * signs[1], 0)


def _above_the_source(case: _Case) -> str | None:
    """The response that is wanted to exceed most that of its source, or of its target, to itself."""
    found = _largest_excess(case)
    if found is None or not found[0] > 0:
        return None
    _, bound, (i, j, own) = found
    _, _, wanted, samples, outputs = case.terms
    return (
        f"per unit current sample {samples[i, j]} of realization {case.number} wants "
        f"{abs(wanted[i, j]):.3g} of output {outputs[i, j]}, more than the {wanted[own, own]:.3g} of output "
        f"{outputs[own, own]} where the current itself enters, which no positive conductances do, so that "
        f"the cost stays above {bound:.3g}; lower the one target or raise the other."
    )


def _largest_excess(case: _Case) -> tuple[float, float, tuple[int, int, int]] | None:
    """By how much `|G_ij|` is wanted above `G_ii` or `G_jj`, at worst; its cost; i, j, and which of both."""
    if not (case.is_squared and case.edges is not None and case.is_driven_by_forces):
        return None
    # Drops that are held short nodes, whose currents are then no longer those of single nodes.
    if case.is_grounded and not case.holds_nodes:
        return None
    distinct, weights, wanted, *_ = case.terms
    terminals = case.beside_rows(case.readout[distinct])
    counts, sums = np.count_nonzero(terminals, axis=1), np.abs(terminals.sum(axis=1))
    simple = (counts == 2) & (sums <= 1e-6 * np.abs(terminals).max(axis=1))
    if case.is_grounded:
        simple |= counts == 1
    worst = None
    for i, j in np.argwhere((weights > 0) & ~np.eye(len(simple), dtype=bool) & simple & simple[:, None]):
        for own in (i, j):
            if not weights[own, own] > 0:
                continue
            excess = abs(wanted[i, j]) - wanted[own, own]
            both = weights[i, j] * weights[own, own] / (weights[i, j] + weights[own, own])
            size = max(abs(wanted[i, j]), abs(wanted[own, own]))
            if abs(excess) <= 1e-6 * size:
                sign = _fixed(case, terminals[i if own == j else j], terminals[own])
                if abs(excess) > _ROUNDING * case.epsilon * size or sign * wanted[i, j] > 0:
                    continue
                excess = 0.0
            entry = (excess, 0.5 * both * excess**2, (int(i), int(j), int(own)))
            worst = entry if worst is None or entry[:2] > worst[:2] else worst
    return worst


def _fixed(case: _Case, terminal: np.ndarray, own: np.ndarray) -> int:
    """±1 where a terminal answers a current through another by ± what that answers itself, for all k; else 0.

    All held nodes, at zero, are one node. Then a node has the voltage of an end of the other terminal
    whatever the conductances if and only if that end cuts it off from the other end.
    """
    assert case.edges is not None
    merged = np.where(case.is_held, len(case.is_held), np.arange(len(case.is_held)))
    ends = merged[case.edges]

    def nodes(row: np.ndarray) -> list[int]:
        # The node at a higher voltage first; what reads one node reads its voltage above those held.
        found = np.flatnonzero(row)
        found = found[np.argsort(-row[found])]
        both = [*found.tolist(), len(case.is_held)] if len(found) == 1 else found.tolist()
        return both if row[both[0]] > 0 else both[::-1]

    def follows(node: int, end: int, other: int) -> bool:
        parts = component_labels(ends[(ends != end).all(axis=1)], len(case.is_held) + 1)
        return node == end or bool(parts[node] != parts[other])

    (high, low), (source, sink) = nodes(terminal), nodes(own)
    if follows(high, source, sink) and follows(low, sink, source):
        return 1
    return -int(follows(high, sink, source) and follows(low, source, sink))


def _at_a_bound(case: _Case) -> str | None:
    """A target that lies exactly where positive conductances only come in a limit."""
    if not (case.is_squared and case.edges is not None):
        return None
    place = None
    if case.is_driven_by_values and case.holds_nodes:
        least, most = _reachable(case)
        free = np.any(case.beside_rows(case.readout) != 0, axis=1)
        rounding = _ROUNDING * case.epsilon * (most - least)
        at = np.minimum(np.abs(case.targets - least), np.abs(case.targets - most)) <= rounding
        place = np.argwhere(at & (least < most) & free & (case.weights > 0))
    elif case.is_driven_by_forces and case.is_grounded:
        sign = _pushed(case)
        place = np.argwhere((case.targets == 0) & (np.abs(sign) == 1) & (case.weights > 0))
    if place is not None and len(place):
        sample, output = place[0]
    else:
        found = _largest_excess(case)
        if found is None or found[0] != 0:
            return None
        i, j, _ = found[2]
        sample, output = (numbers[i, j] for numbers in case.terms[3:])
    return (
        f"sample {sample} of realization {case.number} wants {case.targets[sample, output]:.3g} of output "
        f"{output}, which conductances approach only as they vanish or grow without end; leave it some room."
    )


def _against_reciprocity(case: _Case) -> str | None:
    """Wanted responses between the same places that no symmetric positive semidefinite matrix has."""
    if not (case.is_squared and case.is_driven_by_forces):
        return None
    found = [each for each in (_by_terms(case), _by_moments(case)) if each is not None]
    if not found:
        return None
    bound, back, forth, least = max(found, key=lambda each: each[0])
    parts = []
    if abs(back - forth) > 1e-6 * max(abs(back), abs(forth)):
        parts.append(f"a response of {back:.3g} one way and {forth:.3g} the other, which are equal")
    elif _against_currents(case) or _above_the_source(case):
        return None
    if least < 0:
        parts.append(f"one of {least:.3g} to a force (or to several) where it acts, which is positive")
    return (
        f"realization {case.number} wants {' and '.join(parts)} in every network, so that the cost stays "
        f"above {bound:.3g}; read it elsewhere than where it is driven, or hold the inputs as values."
    )


# The bound, the two responses that differ most, the least eigenvalue.
_Reciprocity = tuple[float, float, float, float]


def _by_terms(case: _Case) -> _Reciprocity | None:
    """Where samples are driven at one place each: every wanted response has a weight of its own."""
    _, weights, wanted, *_ = case.terms
    if not np.any(weights):
        return None
    total = weights + weights.T
    reduced = weights * weights.T / np.where(total > 0, total, 1)
    bound = 0.25 * np.sum(reduced * (wanted - wanted.T) ** 2)
    mean = (weights * wanted + weights.T * wanted.T) / np.where(total > 0, total, 1)
    # In ½ Σ_ij of a symmetric matrix an entry off the diagonal stands twice.
    known = np.diagonal(weights) > 0
    known &= (total[known][:, known] > 0).all() if known.any() else False
    block = mean[np.ix_(known, known)]
    values = np.linalg.eigvalsh(block) if block.size else np.zeros(1)
    if block.size:
        bound += 0.25 * total[np.ix_(known, known)].min() * np.sum(np.minimum(values, 0) ** 2)
    else:
        # What acts on itself is positive whatever the rest.
        own, given = np.diagonal(wanted), np.diagonal(weights)
        values = np.where(given > 0, own, 0)
        bound += 0.5 * np.sum(given * np.minimum(values, 0) ** 2)
    return _beyond_rounding(case, bound, 0.0, np.where(reduced > 0, wanted, 0), float(values.min()))


def _by_moments(case: _Case) -> _Reciprocity | None:
    """Where samples mix inputs: by the second moments of the terminals that are also read."""
    if not (case.weights[:, :1] == case.weights).all():
        return None
    force, readout = case.beside_rows(case.force), case.beside_rows(case.readout)
    strengths, sizes = np.linalg.norm(force, axis=1), np.linalg.norm(readout, axis=1)
    if not (strengths > 0).all():
        return None
    read, turned = _matched(force @ readout.T, strengths**2, sizes**2)
    chosen = np.flatnonzero(read >= 0)
    read = read[chosen]
    if len(chosen) == 0 or len(np.unique(read)) < len(read) or np.ptp(sizes[read]) > 1e-9 * sizes.max():
        return None
    roots = np.sqrt(case.weights[:, :1])
    signs = np.ones(len(strengths))
    signs[chosen] = np.sign(turned[chosen])
    inputs, targets = roots * case.inputs * strengths * signs, roots * case.targets
    wanted, *_ = np.linalg.lstsq(inputs, targets, rcond=1e-12)
    # No linear network does better on the samples than the best map does.
    beyond = 0.5 * np.sum((targets - inputs @ wanted) ** 2)
    moments, rest = inputs.T @ inputs, np.setdiff1d(np.arange(len(strengths)), chosen)
    own = moments[np.ix_(chosen, chosen)]
    if rest.size:
        # Responses to terminals that are not read are free.
        cross = moments[np.ix_(chosen, rest)]
        own = own - cross @ np.linalg.pinv(moments[np.ix_(rest, rest)], hermitian=True) @ cross.T
    size = sizes[read][0]
    mu, basis = np.linalg.eigh(own)
    mu = np.where(mu > 1e-12 * mu.max(), mu, 0) * size**2
    wanted = basis.T @ (wanted[chosen][:, read].T / size) @ basis
    total = mu[:, None] + mu
    total = np.where(total > 0, total, 1)
    reduced = mu[:, None] * mu / total
    bound = 0.25 * np.sum(reduced * (wanted - wanted.T) ** 2)
    values = np.linalg.eigvalsh((wanted * mu + wanted.T * mu[:, None]) / total)
    bound += 0.5 * mu.min() * np.sum(np.minimum(values, 0) ** 2)
    return _beyond_rounding(
        case, bound, beyond, basis @ np.where(reduced > 0, wanted, 0) @ basis.T, float(values.min())
    )


def _beyond_rounding(
    case: _Case, bound: float, beyond: float, wanted: np.ndarray, least: float
) -> _Reciprocity | None:
    """A bound that is more than rounding of the targets makes."""
    if not bound > 1e-10 * _half(case.weights, case.targets):
        return None
    i, j = np.unravel_index(np.argmax(np.abs(wanted - wanted.T)), wanted.shape)
    return bound + beyond, float(wanted[i, j]), float(wanted[j, i]), least


def _against_one_another(case: _Case) -> str | None:
    """The sample whose targets contradict most what its outputs say of one another."""
    if not (case.is_squared and case.is_dependent):
        return None
    left = case.beside_rows(case.readout)
    basis, values, _ = np.linalg.svd(left, full_matrices=False)
    basis = basis[:, values > 1e-6 * values.max(initial=0.0)]
    gaps = case.targets - case.held @ (case.readout @ case.lift).T
    costs = np.zeros(len(gaps))
    for sample, (gap, root) in enumerate(zip(gaps, np.sqrt(case.weights), strict=True)):
        away = (
            root * gap
            - root[:, None] * basis @ np.linalg.lstsq(root[:, None] * basis, root * gap, rcond=1e-9)[0]
        )
        costs[sample] = 0.5 * np.sum(away**2)
    if not costs.sum() > 1e-12 * _half(case.weights, np.abs(case.targets) + np.abs(gaps)):
        return None
    return (
        f"sample {np.argmax(costs)} of realization {case.number} wants of outputs that follow from one "
        f"another what does not, so that the cost stays above {costs.sum():.3g} and `CoupledLearning` cannot "
        "hold them; make the targets agree or read less."
    )


def _beside_ground(case: _Case) -> str | None:
    """An output that reads a node next to a ground, unless that can't be helped."""
    if case.edges is None or not (case.is_driven_by_values and case.holds_nodes):
        return None
    size, rows = case.readout.shape[1], case.rows
    grounds = np.flatnonzero(np.any(rows[case.values.shape[1] :] != 0, axis=0))
    touching = case.edges[np.isin(case.edges, grounds).any(axis=1)]
    near = np.setdiff1d(touching, grounds)
    held = np.flatnonzero(np.any(rows != 0, axis=0))
    if np.setdiff1d(np.arange(size), np.concatenate([near, held])).size == 0:
        return None
    for output, row in enumerate(case.readout):
        nodes = np.flatnonzero(row)
        if len(nodes) == 1 and nodes[0] in near:
            ends = touching[(touching == nodes[0]).any(axis=1)][0]
            return (
                f"output {output} of realization {case.number} reads node {nodes[0]}, which an edge joins to "
                f"node {ends[ends != nodes[0]][0]}; move one of them if you can."
            )
    return None


def _half(weights: np.ndarray, gaps: np.ndarray) -> float:
    """`½ Σ w g²` of what counts."""
    with np.errstate(over="ignore"):  # A cost that no number holds is infinite, and reported as such.
        return float(0.5 * np.sum(weights * np.where(weights > 0, gaps, 0) ** 2))


_CONCERNS: tuple[tuple[str, Callable[[_Case], str | None]], ...] = (
    ("Targets are out of reach", _beyond_voltages),
    ("Targets lie on the wrong side of the ground", _against_currents),
    ("Targets exceed the source's own response", _above_the_source),
    ("Targets contradict reciprocity", _against_reciprocity),
    ("Targets contradict one another", _against_one_another),
    ("Targets lie exactly at a bound", _at_a_bound),
    ("Targets lie next to a ground", _beside_ground),
)
