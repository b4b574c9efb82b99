"""How many evaluations of the rule learning takes: plain descent at α = 0.01 against gradient flow.

Every system runs to the same time three times: by Euler steps of α, by `jp.GradientFlow`, and by
`jp.GradientFlow` at tight tolerances, which measures how far plain descent is from the limit of small steps.
Ratios are taken realization by realization.

    python benchmarks/gradient_flow.py --out benchmarks/results/gradient_flow.json [--quick]
"""

import argparse
import json
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax

import jaxphys as jp
from jaxphys.io import provenance, write_atomically

RATE = 0.01
GOAL = {"ratio": 30.0, "deviation": 1e-3}


def node(random, key):
    """A node network of 20 nodes, one random linear constraint; entries of W at unit scale, no bounds."""
    draws = random.standard_normal((20, 20))
    network = jp.NodeNetwork.from_matrix((draws + draws.T) / 2 + 3 * np.sqrt(40) * np.eye(20))
    return network, jp.random_linear(network, 1, key)


def allostery(tasks, k):
    """Flow networks of 40 nodes and 60 edges that start at `k` on every edge."""

    def draw(random, key):
        network = jp.FlowNetwork(jp.erdos_renyi(40, 60, key), k=k)
        nodes = random.permutation(40).tolist()
        boundary = jp.Boundary(network, free_modes="project")
        return network, jp.allostery(network, boundary, nodes[:tasks], nodes[tasks : 2 * tasks], response=0.3)

    return draw


def regression(random, key):
    """A flow network of 40 nodes and 60 edges, two inputs and two outputs, ten samples."""
    network = jp.FlowNetwork(jp.erdos_renyi(40, 60, key), k=1.0)
    nodes = random.permutation(40).tolist()
    boundary = jp.Boundary(network, ground=[nodes[4]])
    matrix = 0.2 * np.array([[0.5, 0.2], [0.1, 0.7]])
    inputs = random.standard_normal((10, 2))
    return network, jp.regression(network, boundary, nodes[:2], nodes[2:4], matrix=matrix, inputs=inputs)


# name: how one realization is drawn, Euler steps, lower bound, rule.
SYSTEMS = {
    "node, one task": (node, 100_000, None, jp.ExactGradient()),
    "flow, one task, k₀ = 10": (allostery(1, 10.0), 100_000, 1e-2, jp.ExactGradient()),
    "flow, five tasks, k₀ = 3": (allostery(5, 3.0), 100_000, 1e-2, jp.ExactGradient()),
    "flow, five tasks, k₀ = 1, floor 0.2": (allostery(5, 1.0), 100_000, 0.2, jp.ExactGradient()),
    "flow, regression, coupled learning": (regression, 100_000, 1e-2, jp.CoupledLearning()),
    "node, one task, ten times longer": (node, 1_000_000, None, jp.ExactGradient()),
}


@jax.jit
def outputs(networks, tasks):
    """Outputs of all samples, `(R, outputs)`."""
    return jax.vmap(lambda network, task: jp.respond(network, task).outputs.ravel())(networks, tasks)


def distance(values, reference, scale):
    """Euclidean distance per realization in units of the length of `scale`."""
    return np.linalg.norm(values - reference, axis=1) / np.linalg.norm(scale, axis=1)


def spread(values):
    """Median and extremes over realizations."""
    values = np.asarray(values, float)
    return {name: float(of(values)) for name, of in (("median", np.median), ("min", np.min), ("max", np.max))}


def timed(networks, tasks, steps, **arguments):
    """A run with records at its ends only, and its seconds without compilation."""
    jp.train(networks, tasks, steps=1, record=jp.Record(every=1), **arguments)
    start = time.perf_counter()
    run = jp.train(networks, tasks, steps=steps, record=jp.Record(every=steps), **arguments)
    return run, time.perf_counter() - start


def measure(draw, steps, lower, rule, realizations, seed):
    """Summary of one system; evaluations and largest deviation of every realization, for the figure."""
    keys = jax.random.split(jax.random.key(seed), realizations)
    drawn = [draw(np.random.default_rng([seed, i]), key) for i, key in enumerate(keys)]
    networks, tasks = map(jp.stack, zip(*drawn, strict=True))
    descent = optax.sgd(RATE) if lower is None else optax.chain(optax.sgd(RATE), jp.bounds(lower))
    flows = {
        "flow": jp.GradientFlow(RATE),
        "limit": jp.GradientFlow(RATE, relative_tolerance=1e-8, absolute_tolerance=1e-9),
    }
    runs = {"euler": timed(networks, tasks, steps, rule=rule, optimizer=descent)}
    for name, integrator in flows.items():
        runs[name] = timed(networks, tasks, steps, rule=rule, optimizer=integrator, bounds=(lower, None))
    well = np.all([run.status == jp.Status.OK for run, _ in runs.values()], axis=0)
    k = {name: np.asarray(run.network.k)[well] for name, (run, _) in runs.items()}
    y = {name: np.asarray(outputs(run.network, run.task))[well] for name, (run, _) in runs.items()}
    counts = {name: run.evaluations[well] for name, (run, _) in runs.items()}
    initial = np.asarray(networks.k)[well]

    def deviations(name, reference):
        return {
            "k": distance(k[name], k[reference], k[reference]),
            "change of k": distance(k[name], k[reference], k[reference] - initial),
            "outputs": distance(y[name], y[reference], y[reference]),
        }

    ratio, apart = counts["euler"] / counts["flow"], deviations("flow", "euler")
    worst = np.max([apart["k"], apart["outputs"]], axis=0)
    result = {
        "steps": steps,
        "rate": RATE,
        "lower": lower,
        "rule": type(rule).__name__,
        "realizations": realizations,
        "failed": {name: run.failures for name, (run, _) in runs.items()},
        "evaluations": {name: spread(values) for name, values in counts.items()},
        "seconds for all": {name: seconds for name, (_, seconds) in runs.items()},
        "cost": {name: spread(run.cost[well, -1]) for name, (run, _) in runs.items()},
        "cost at start": spread(runs["euler"][0].cost[well, 0]),
        "edges at the floor": {n: spread((v <= (lower or -np.inf)).sum(axis=1)) for n, v in k.items()},
        "ratio": spread(ratio),
        "flow from euler": {name: spread(values) for name, values in apart.items()},
        "euler from limit": {name: spread(v) for name, v in deviations("euler", "limit").items()},
        "flow from limit": {name: spread(v) for name, v in deviations("flow", "limit").items()},
        "realizations that reach the goal": int(
            ((ratio >= GOAL["ratio"]) & (worst <= GOAL["deviation"])).sum()
        ),
    }
    return result, {"euler": counts["euler"], "flow": counts["flow"], "deviation": worst}


def draw_figure(points, path):
    """Left: evaluations by both; right: deviation against the ratio. Dashed: the goal."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, counts in points.items():
        left.loglog(counts["euler"], counts["flow"], "o", alpha=0.6, label=name)
        floor = np.maximum(counts["deviation"], 1e-12)
        right.loglog(counts["euler"] / counts["flow"], floor, "o", alpha=0.6)
    ends = np.array([1e4, 1e6])
    left.loglog(ends, ends / GOAL["ratio"], "k--", lw=1)
    left.set(xlabel="evaluations, Euler at α = 0.01", ylabel="evaluations, gradient flow")
    right.axvline(GOAL["ratio"], color="k", ls="--", lw=1)
    right.axhline(GOAL["deviation"], color="k", ls="--", lw=1)
    right.set(xlabel="Euler / flow", ylabel="relative deviation, k or outputs")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gradient_flow.json"))
    parser.add_argument("--realizations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three realizations, a hundredth of the steps")
    parsed = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    shorter, realizations = (100, 3) if parsed.quick else (1, parsed.realizations)
    results, points = {}, {}
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    for name, (draw, steps, lower, rule) in SYSTEMS.items():
        results[name], points[name] = measure(draw, steps // shorter, lower, rule, realizations, parsed.seed)
        each = results[name]
        counts, apart = each["evaluations"], each["flow from euler"]
        print(
            f"{name}: {counts['euler']['median']:.0f} -> {counts['flow']['median']:.0f} evaluations, "
            f"{each['ratio']['median']:.0f}x fewer ({each['ratio']['min']:.0f} at least), deviation "
            f"{apart['k']['max']:.1e} in k, {apart['outputs']['max']:.1e} in outputs at worst; "
            f"{each['realizations that reach the goal']} of {realizations} reach the goal",
            flush=True,
        )
        content = {"provenance": provenance(), "seed": parsed.seed, "goal": GOAL, "systems": results}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomically(parsed.out, lambda to, text=text: to.write_text(text, encoding="utf-8"))
    draw_figure(points, parsed.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
