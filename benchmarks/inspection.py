"""How far `jaxphys.inspect_network` can be trusted: its verdicts on trained and on untrained networks.

Every network is measured with errors of 0, 5 and 20 % in k. Trained ones: allostery, regression and
classification on node, flow and spring networks, at low and high learning rates. Untrained ones: the same
graphs with k drawn anew (log-normal, as wide as the trained k), within a factor of two, and all equal but for
the errors; node networks before training, and with log-normal factors. Hard ones: k placed for something else
(low total resistance, transport from one node, a high lowest eigenvalue) or by something else (smooth fields,
a gradient, the number of neighbours).

    python benchmarks/inspection.py --out benchmarks/results/inspection.json [--quick] [--only NAME ...]
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import scipy.stats

import jaxphys as jp
from jaxphys.data import iris
from jaxphys.inspection import inspect_network
from jaxphys.io import provenance, write_atomically

NOISES = (0.0, 0.05, 0.2)
NULL_MODELS = ("shuffled", "redrawn", "smooth")
SIGNIFICANCE = 0.05


def symmetric(random: np.random.Generator, nodes: int) -> jp.NodeNetwork:
    """The node network of Stern et al. (2023)."""
    draws = random.standard_normal((nodes, nodes))
    return jp.NodeNetwork.from_matrix((draws + draws.T) / 2 + 3 * np.sqrt(2 * nodes) * np.eye(nodes))


def graph(random: np.random.Generator, nodes: int) -> jp.Topology:
    """A random graph of degree 3."""
    return jp.erdos_renyi(nodes, round(1.5 * nodes), jax.random.key(int(random.integers(2**31))))


def floating_allostery(network, random):
    """One source, one target; forces in, a response of 0.3 (springs: 0.5) out."""
    source, target = random.permutation(network.num_nodes)[:2].tolist()
    directions = {}
    if network.dimension > 1:
        angles = random.uniform(0, 2 * np.pi, (2, 1))
        ways = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        directions = {"source_directions": ways[0], "target_directions": ways[1]}
    boundary = jp.Boundary(network, free_modes="project")
    wanted = 0.5 if network.dimension > 1 else 0.3
    task = jp.allostery(network, boundary, [source], [target], response=wanted, **directions)
    return task, [source, target]


def floating_regression(network, random):
    """Two forces in, two responses out, on a floating network."""
    nodes = random.permutation(network.num_nodes)[:4].tolist()
    matrix = np.array([[0.2, 0.1], [0.05, 0.3]])
    boundary = jp.Boundary(network, free_modes="project")
    inputs = random.standard_normal((10, 2))
    return jp.regression(network, boundary, nodes[:2], nodes[2:], matrix=matrix, inputs=inputs), nodes


def flowers(network, random):
    """Iris: four forces in, three responses out."""
    nodes = random.permutation(network.num_nodes)[:7].tolist()
    features, labels, _ = iris()
    cost = jp.CrossEntropy(100.0)
    boundary = jp.Boundary(network, free_modes="project")
    task = jp.classification(
        network, boundary, nodes[:4], nodes[4:], features=features, labels=labels, cost=cost
    )
    return task, nodes


def held_regression(network, random):
    """Two voltages against a ground in, voltages at two nodes out (Guzman et al. (2024), eq. 1)."""
    nodes = random.permutation(network.num_nodes)[:5].tolist()
    boundary = jp.Boundary(network, held_nodes=nodes[:2], ground=nodes[2:3])
    matrix = np.array([[0.15, 0.3], [0.2, 0.1]])
    inputs = random.uniform(-1.7, 1.7, (60, 2))
    return jp.regression(network, boundary, [], nodes[3:], matrix=matrix, inputs=inputs), nodes


def springs(random: np.random.Generator, nodes: int) -> jp.SpringNetwork:
    key = jax.random.key(int(random.integers(2**31)))
    return jp.SpringNetwork(jp.erdos_renyi(nodes, 3 * nodes, key, dimension=2, rigid=True), 10.0)


def flow(start: float) -> Callable:
    def draw(random, nodes):
        return jp.FlowNetwork(graph(random, nodes), start)

    return draw


def lattice(low: float, high: float) -> Callable:
    def draw(random, nodes):
        side = round(nodes**0.5)
        topology = jp.triangular_lattice((side, side))
        return jp.FlowNetwork(topology, random.uniform(low, high, topology.num_edges))

    return draw


def descend(network, task, steps):
    """Adaptive descent of the exact gradient, as in Stern et al. (2023)."""
    chain = [optax.sgd(1.0)]
    if isinstance(network, jp.NodeNetwork):
        metric = jp.NodeNetwork(jnp.zeros(network.k.shape[-1])).frobenius_metric
        chain = [jp.precondition(metric), *chain]
    else:
        chain.append(jp.bounds(1e-2))
    return jp.train(
        network,
        task,
        steps=steps,
        optimizer=jp.Descent(optax.chain(*chain), jp.AdaptiveStep()),
        stop_cost=1e-20,
        record=jp.Record(steps=[]),
    )


def couple(network, task, steps, rho):
    """Coupled learning at a fixed rate, as in Guzman et al. (2024)."""
    optimizer = optax.chain(optax.sgd(rho), jp.bounds(1e-3, 1e3))
    rule = jp.CoupledLearning(1e-3)
    return jp.train(
        network,
        task,
        steps=steps,
        rule=rule,
        optimizer=optimizer,
        stop_cost=1e-9,
        record=jp.Record(steps=[]),
    )


# name: network, its nodes, task, how it is trained, realizations, cost below which a network has learned.
TRAINED = {
    "node allostery, N=20": (symmetric, 20, floating_allostery, partial(descend, steps=1500), 120, 1e-6),
    "node allostery, N=60": (symmetric, 60, floating_allostery, partial(descend, steps=1500), 60, 1e-6),
    "node regression, N=20": (symmetric, 20, floating_regression, partial(descend, steps=1500), 60, 1e-3),
    "node Iris, N=20": (symmetric, 20, flowers, partial(descend, steps=1500), 40, np.inf),
    "flow allostery, N=20": (flow(10.0), 20, floating_allostery, partial(descend, steps=2000), 80, 1e-6),
    "flow allostery, N=40": (flow(10.0), 40, floating_allostery, partial(descend, steps=2000), 160, 1e-6),
    "flow allostery, N=100": (flow(10.0), 100, floating_allostery, partial(descend, steps=2000), 60, 1e-6),
    "flow allostery, lattice of 289": (
        lattice(10.0, 11.0),
        289,
        floating_allostery,
        partial(descend, steps=1000),
        6,
        1e-6,
    ),
    "flow allostery, k₀=1": (flow(1.0), 40, floating_allostery, partial(descend, steps=2000), 80, 1e-6),
    "flow regression, ρ=30": (
        lattice(1.0, 1.1),
        64,
        held_regression,
        partial(couple, steps=8000, rho=30.0),
        60,
        1e-5,
    ),
    "flow regression, ρ=3000": (
        lattice(1.0, 1.1),
        64,
        held_regression,
        partial(couple, steps=8000, rho=3000.0),
        60,
        1e-5,
    ),
    "spring allostery, N=40": (springs, 40, floating_allostery, partial(descend, steps=2000), 80, 1e-6),
    "spring allostery, N=80": (springs, 80, floating_allostery, partial(descend, steps=2000), 24, 1e-6),
}


def incidence(topology: jp.Topology) -> np.ndarray:
    return np.asarray(jp.FlowNetwork(topology).compatibility())[:, 0]


def low_resistance(topology, random):
    """Nearly the least total resistance at a given sum of k: k grows with the power that its edge carries."""
    b = incidence(topology)
    k = np.exp(0.1 * random.standard_normal(len(b)))
    for _ in range(40):
        carried = np.sum((b @ np.linalg.pinv(b.T @ (k[:, None] * b), hermitian=True)) ** 2, axis=1)
        k = k * (carried / np.sum(carried * k)) ** 0.2
        k /= k.mean()
    return k


def transport(topology, random):
    """From one source to all other nodes: `k ∝ |current|^(2/3)`, as in Murray's law."""
    b = incidence(topology)
    force = np.full(topology.num_nodes, -1 / topology.num_nodes)
    force[random.integers(topology.num_nodes)] += 1
    k = np.ones(len(b))
    for _ in range(40):
        drops = b @ (np.linalg.pinv(b.T @ (k[:, None] * b), hermitian=True) @ force)
        k = 0.5 * k + 0.5 * (np.abs(k * drops) ** (2 / 3) + 1e-3)
    return k / k.mean()


def well_connected(topology, random):
    """A high lowest eigenvalue."""
    b = incidence(topology)
    k = np.exp(0.1 * random.standard_normal(len(b)))
    for _ in range(60):
        drops = (b @ np.linalg.eigh(b.T @ (k[:, None] * b))[1][:, 1]) ** 2
        k = k * np.exp(0.1 * drops / drops.max())
        k /= k.mean()
    return k


def smooth_field(topology, random):
    """Log-normal k that varies over a few bonds."""
    b = incidence(topology)
    values, modes = np.linalg.eigh(b.T @ b)
    field = modes @ (np.exp(-1.5 * values) * random.standard_normal(len(values)))
    ends = np.asarray(topology.edges)
    return np.exp(0.7 * (field / field.std())[ends].mean(axis=1))


def gradient(topology, random):
    """Log k rises along the longest mode of the graph, with a tenth of scatter."""
    b = incidence(topology)
    mode = np.linalg.eigh(b.T @ b)[1][:, 1]
    ends = np.asarray(topology.edges)
    return np.exp(0.7 * (mode / mode.std())[ends].mean(axis=1) + 0.1 * random.standard_normal(len(b)))


def by_degree(topology, random):
    """`k ∝ sqrt(degrees of both ends)` with a fifth of scatter."""
    ends = np.asarray(topology.edges)
    degrees = np.bincount(ends.ravel())[ends]
    return np.sqrt(degrees.prod(axis=1)) * np.exp(0.2 * random.standard_normal(len(ends)))


HARD = {
    "low total resistance": low_resistance,
    "transport from a node": transport,
    "high lowest eigenvalue": well_connected,
    "smooth field": smooth_field,
    "gradient": gradient,
    "by degree": by_degree,
}


def measured(k: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """k with relative errors, those of conductances never through zero."""
    factor = 1 + noise * random.standard_normal(k.shape)
    return k * (np.maximum(factor, 0.05) if (k > 0).all() else factor)


def looked_at(network, noise: float, seed: int, draws: int, terminals=None) -> dict:
    """Verdict, p-value, and the fraction of the true terminals among the top tenth of the nodes."""
    random = np.random.default_rng([seed, round(1000 * noise)])
    noisy = network.with_k(jnp.asarray(measured(np.asarray(network.k), noise, random)))
    found = inspect_network(noisy, num_null=draws, seed=seed, null_models=NULL_MODELS)
    row = {"verdict": found.verdict, "p_value": found.p_value}
    if terminals is not None:
        places = scipy.stats.rankdata(-found.node_scores)[terminals]
        row["recalled"] = float(np.mean(places <= max(len(terminals), 0.1 * network.num_nodes)))
    return row


def one(tree, which: int):
    return jax.tree.map(lambda leaf: leaf[which], tree)


def untrained(network, trained_k: np.ndarray, random: np.random.Generator) -> dict:
    """Untrained k on the graph of a network, by name."""
    k = np.asarray(network.k)
    if isinstance(network, jp.NodeNetwork):
        width = np.std(np.log(np.abs(trained_k / k) + 1e-12))
        wide = k * np.exp(min(width, 0.5) * random.standard_normal(k.shape))
        return {"node before training": k, "node, log-normal factors": wide}
    width = np.std(np.log(trained_k))
    kind = "spring" if network.dimension > 1 else "flow"
    return {
        f"{kind}, log-normal": np.exp(width * random.standard_normal(k.shape)),
        f"{kind}, within a factor of two": 2 ** random.uniform(-0.5, 0.5, k.shape),
        f"{kind}, all equal": np.ones(k.shape),
    }


def gathered(rows: list[dict]) -> dict:
    """Rates over networks."""
    verdicts = [row["verdict"] for row in rows]
    recalls = [row["recalled"] for row in rows if "recalled" in row]
    rates = {
        "networks": len(rows),
        "called trained": verdicts.count("trained") / len(rows),
        "called unusual": verdicts.count("unusual") / len(rows),
        "p_values": sorted(round(row["p_value"], 4) for row in rows),
        "p below 0.05": float(np.mean([row["p_value"] <= SIGNIFICANCE for row in rows])),
    }
    return rates | ({"terminals in the top tenth": float(np.mean(recalls))} if recalls else {})


def calibrate(names, fraction: float, draws: int) -> tuple[dict, dict]:
    """Rows of every group and noise."""
    groups: dict[str, dict[str, list]] = {"trained": {}, "untrained": {}, "hard": {}}
    began = time.perf_counter()

    def note(kind, name, noise, row):
        groups[kind].setdefault(f"{name} | {noise:g}", []).append(row)

    for number, (name, (draw, nodes, make_task, learn, count, learned)) in enumerate(TRAINED.items()):
        if names and not any(each in name for each in names):
            continue
        random = np.random.default_rng([7, number])
        pairs = []
        for _ in range(max(4, round(fraction * count))):
            network = draw(random, nodes)
            pairs.append((network, *make_task(network, random)))
        networks, tasks, terminals = zip(*pairs, strict=True)
        run = learn(jp.stack(networks), jp.stack(tasks))
        good = np.flatnonzero((run.status == 0) & (run.cost[:, -1] <= learned))
        seconds = time.perf_counter() - began
        print(f"{seconds:5.0f} s  {name}: {len(good)} of {len(networks)} learned", flush=True)
        for which in good.tolist():
            trained = one(run.network, which)
            for noise in NOISES:
                note("trained", name, noise, looked_at(trained, noise, which, draws, terminals[which]))
            before = networks[which]
            for other, k in untrained(before, np.asarray(trained.k), random).items():
                row = looked_at(before.with_k(jnp.asarray(k)), 0.05, which, draws)
                note("untrained", other, 0.05, row)
    for name, place in HARD.items():
        if names and name not in names and "hard" not in names:
            continue
        random = np.random.default_rng([8, list(HARD).index(name)])
        for which in range(max(4, round(fraction * 60))):
            topology = graph(random, 40) if which % 2 else jp.triangular_lattice((8, 8))
            network = jp.FlowNetwork(topology, place(topology, random))
            note("hard", name, 0.05, looked_at(network, 0.05, which, draws))
        print(f"{time.perf_counter() - began:5.0f} s  {name}", flush=True)
    return groups, {"seconds": time.perf_counter() - began, "draws": draws}


def table_of(groups: dict) -> list[dict]:
    rows = []
    for kind, members in groups.items():
        for name, found in members.items():
            label, noise = name.rsplit(" | ", 1)
            rows.append({"kind": kind, "name": label, "noise": float(noise), **gathered(found)})
    return rows


def as_markdown(rows: list[dict]) -> str:
    lines = [
        "| networks | errors of k | number | trained | unusual | terminals in the top tenth |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        recall = row.get("terminals in the top tenth")
        lines.append(
            f"| {row['name']} | {100 * row['noise']:g} % | {row['networks']} | {row['called trained']:.1%} | "
            f"{row['called unusual']:.1%} | {'' if recall is None else f'{recall:.1%}'} |"
        )
    return "\n".join(lines)


def draw_roc(groups: dict, path: Path) -> None:
    """True against false positives as the p-value's threshold moves, errors of 5 %."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    false = np.array([row["p_value"] for found in groups["untrained"].values() for row in found])
    thresholds = np.linspace(0, 1, 401)
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    styles = [(f"C{color}", line) for line in ("-", "--") for color in range(10)]
    members = [name for name in groups["trained"] if name.endswith("| 0.05")]
    for name, (color, line) in zip(members, styles, strict=False):
        true = np.array([row["p_value"] for row in groups["trained"][name]])
        rates = [(np.mean(false <= each), np.mean(true <= each)) for each in thresholds]
        axes.plot(*zip(*rates, strict=True), color=color, linestyle=line, label=name.split(" |")[0])
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.axvline(SIGNIFICANCE, color="0.7", linewidth=1, linestyle=":")
    axes.set(
        xlabel=f"untrained networks called trained ({len(false)} of mixed kinds)",
        ylabel="trained networks called trained",
        title="Errors of 5 % in k",
        xlim=(0, 0.5),
        ylim=(0, 1.02),
    )
    axes.legend(fontsize=7, loc="lower right")
    figure.savefig(path, dpi=150)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="a tenth of the networks")
    parser.add_argument("--only", nargs="+", help="names or parts of names; 'hard' for all hard ones")
    parser.add_argument("--draws", type=int, default=200)
    parsed = parser.parse_args()
    groups, facts = calibrate(parsed.only, 0.1 if parsed.quick else 1.0, parsed.draws)
    rows = table_of(groups)
    everything = [row for found in groups["untrained"].values() for row in found]
    summary = gathered(everything) if everything else {}
    report = {"provenance": provenance(), **facts, "untrained in all": summary, "groups": rows}
    write_atomically(parsed.out, lambda to: to.write_text(json.dumps(report, indent=1) + "\n"))
    if everything and groups["trained"]:
        draw_roc(groups, parsed.out.with_suffix(".png"))
    print(as_markdown(rows))
    print(f"untrained in all: {summary}")


if __name__ == "__main__":
    main()
