"""How many digits a solver keeps when conductances spread over decades, against exact rational arithmetic.

Small flow networks are solved exactly (Python fractions) from the same floating-point numbers that the
solver gets. Writes tables into docs/precision.md, between markers, the numbers as JSON, and a plot.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
from matplotlib.figure import Figure

import jaxphys as jp
from jaxphys.checks.timing import SOLVERS, surroundings
from jaxphys.io import write_atomically
from jaxphys.networks.generators import host_generator

ROOT = Path(__file__).parent.parent
DISTRIBUTIONS = ("log-uniform", "bimodal")
DTYPES = ("float64", "float32")
# Between these lines of the page are the tables.
BEGIN, END = "<!-- begin: precision.py -->", "<!-- end: precision.py -->"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options.add_argument("--page", type=Path, default=ROOT / "docs" / "precision.md")
    options.add_argument("--nodes", type=int, nargs="+", default=(12, 20, 30), help="sizes of the graphs")
    options.add_argument("--seeds", type=int, default=5, help="graphs of each size")
    options.add_argument("--decades", type=int, nargs="+", default=tuple(range(1, 11)))
    # Outside of training a tracked inverse is the dense solver.
    solvers = tuple(name for name in SOLVERS if name != "TrackedInverse")
    options.add_argument("--solvers", nargs="+", default=solvers, choices=solvers)
    options.add_argument("--seed", type=int, default=0)
    parsed = options.parse_args()
    jax.config.update("jax_enable_x64", True)
    report = surroundings(["python", *sys.argv], parsed.seed)
    report["worst"] = summary(
        case
        for distribution in DISTRIBUTIONS
        for decades in parsed.decades
        for nodes in parsed.nodes
        for seed in range(parsed.seed, parsed.seed + parsed.seeds)
        for case in cases(distribution, decades, nodes, seed, parsed.solvers)
    )
    parsed.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1) + "\n"
    write_atomically(parsed.out / "precision.json", lambda to: to.write_text(text))
    write_atomically(parsed.out / "precision.png", lambda to: plot(report).savefig(to, format="png", dpi=150))
    written = f"{BEGIN}\n{page(report, parsed)}{END}"
    if parsed.page.exists():  # What stands around the tables stays.
        before, _, rest = parsed.page.read_text(encoding="utf-8").partition(BEGIN)
        _, found, after = rest.partition(END)
        if not found:
            sys.exit(f"{parsed.page} lacks the markers of the tables")
        written = before + written + after
    write_atomically(parsed.page, lambda to: to.write_text(written, encoding="utf-8"))
    return 0


def cases(distribution: str, decades: int, nodes: int, seed: int, solvers: list[str]) -> list[dict]:
    """Errors of all solvers and precisions on one graph, driven by a current and by a held voltage."""
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), nodes)
    graph = jp.erdos_renyi(nodes, 2 * nodes, key)
    draw = host_generator(jax.random.fold_in(key, decades))
    uniform = draw.random(graph.num_edges)
    k = 10.0 ** (decades * (uniform if distribution == "log-uniform" else np.round(uniform)))
    found = []
    for dtype in DTYPES:
        network = jp.FlowNetwork(graph, k.astype(dtype))
        for drive in ("current", "voltage"):
            exact = exact_potentials(network, drive)
            for solver in solvers:
                potentials, status = solved(network, drive, solver)
                found.append(
                    {
                        "distribution": distribution,
                        "decades": decades,
                        "nodes": nodes,
                        "seed": seed,
                        "dtype": dtype,
                        "drive": drive,
                        "solver": solver,
                        "status": jp.Status(status).name,
                        "error": largest_error(potentials, exact),
                    }
                )
    return found


def exact_potentials(network: jp.FlowNetwork, drive: str) -> list[Fraction]:
    """Potentials, with node 0 grounded and either a unit current into node 1 or a unit voltage held there."""
    nodes = network.num_nodes
    hessian = [[Fraction(0)] * nodes for _ in range(nodes)]
    conductances = np.asarray(network.k).tolist()
    for (a, b), k in zip(np.asarray(network.topology.edges).tolist(), conductances, strict=True):
        exact = Fraction(k)
        hessian[a][a] += exact
        hessian[b][b] += exact
        hessian[a][b] -= exact
        hessian[b][a] -= exact
    first = 1 if drive == "current" else 2
    force = [Fraction(0)] * nodes
    if drive == "current":
        force[1] = Fraction(1)
    else:
        force = [-row[1] for row in hessian]
    matrix = [[*row[first:], right] for row, right in zip(hessian[first:], force[first:], strict=True)]
    return [Fraction(0), *([Fraction(1)] if first == 2 else []), *eliminated(matrix)]


def eliminated(matrix: list[list[Fraction]]) -> list[Fraction]:
    """Solve a positive definite system by Gaussian elimination; its last column is the right-hand side."""
    size = len(matrix)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            if matrix[row][pivot]:
                factor = matrix[row][pivot] / matrix[pivot][pivot]
                for column in range(pivot, size + 1):
                    matrix[row][column] -= factor * matrix[pivot][column]
    solution: list[Fraction] = [Fraction(0)] * size
    for row in reversed(range(size)):
        known = sum((matrix[row][c] * solution[c] for c in range(row + 1, size)), start=Fraction(0))
        solution[row] = (matrix[row][size] - known) / matrix[row][row]
    return solution


def solved(network: jp.FlowNetwork, drive: str, solver: str) -> tuple[np.ndarray, int]:
    """Potentials by a solver of the library, in the precision of the network, and their status."""
    dtype = network.k.dtype
    if drive == "current":
        boundary, values = jp.Boundary(network, ground=[0]), None
        force = np.eye(network.num_nodes, dtype=dtype)[1]
    else:
        boundary, values = jp.Boundary(network, held_nodes=[1], ground=[0]), np.ones(1, dtype)
        force = np.zeros(network.num_nodes, dtype)
    task = jp.Task(boundary, force=force[None], readout=np.eye(network.num_nodes)[2:3], targets=[[0.0]])
    chosen = SOLVERS[solver].for_task(network, task)
    state = compiled(network, boundary, jax.numpy.asarray(force), values, chosen)
    return np.asarray(state.x), int(state.status)


@eqx.filter_jit
def compiled(network, boundary, force, values, solver) -> jp.State:
    return jp.equilibrate(network, boundary, force, values, solver=solver)


def largest_error(potentials: np.ndarray, exact: list[Fraction]) -> float | None:
    """Largest relative error of a potential, the ground excepted; None where they are not finite."""
    if not np.isfinite(potentials).all():
        return None
    pairs = zip(potentials.tolist(), exact, strict=True)
    return max(float(abs(Fraction(x) - true) / abs(true)) for x, true in pairs if true)


def summary(cases: Iterable[dict]) -> list[dict]:
    """For every distribution, range, precision and solver: the largest `error` of the cases with status OK,
    how many were `marked` by another status, and how many `cases` there are.
    """
    rows: dict[tuple, dict] = {}
    for case in cases:
        key = {name: case[name] for name in ("distribution", "decades", "dtype", "solver")}
        row = rows.setdefault(tuple(key.values()), {**key, "error": None, "marked": 0, "cases": 0})
        row["cases"] += 1
        if case["status"] == "OK":
            row["error"] = max(case["error"], row["error"] or 0.0)
        else:
            row["marked"] += 1
    return list(rows.values())


def worst(report: dict, **chosen: object) -> tuple[float | None, int, int]:
    """Largest error of the chosen row, how many of its cases have a status other than OK, and of how many."""
    row = next(row for row in report["worst"] if chosen.items() <= row.items())
    return row["error"], row["marked"], row["cases"]


def page(report: dict, parsed: argparse.Namespace) -> str:
    """The tables in Markdown, with how they were measured."""
    sizes, versions = ", ".join(map(str, parsed.nodes)), report["versions"]
    lines = [
        "How many digits of a flow network's potentials are right when its conductances spread over decades.",
        "Entries are the largest relative error of any node's potential, the worst of "
        f"{len(parsed.nodes) * parsed.seeds} random",
        f"graphs (N = {sizes}, M = 2 N, {parsed.seeds} of each), once driven by a current and once by",
        "a held voltage. The reference is exact rational arithmetic on the same numbers that the solver got.",
        "Where a status marked some solutions as inaccurate or not positive definite, their number follows",
        "the worst of the others. A potential below the smallest normal number of",
        "its precision, 1e-38 in float32, comes out as zero and counts as an error of 1.",
        "",
        f"Written on {report['date'][:10]} by `{report['command']}`, "
        f"jaxphys {versions.get('commit', versions['jaxphys'])}, jax {versions['jax']}.",
        "",
    ]
    columns = [(solver, dtype) for dtype in DTYPES for solver in parsed.solvers]
    for distribution in DISTRIBUTIONS:
        meaning = (
            "uniform in log k" if distribution == "log-uniform" else "half of them 1, half of them largest"
        )
        lines += [f"### Conductances {distribution}: {meaning}", ""]
        lines += ["| decades | " + " | ".join(f"{s}, {d}" for s, d in columns) + " |"]
        lines += ["|--:|" + "--:|" * len(columns)]
        for decades in parsed.decades:
            cells = []
            for solver, dtype in columns:
                error, marked, number = worst(
                    report, distribution=distribution, decades=decades, solver=solver, dtype=dtype
                )
                cell = "–" if error is None else f"{error:.0e}"
                cells.append(f"{cell} ({marked} of {number} marked)" if marked else cell)
            lines.append(f"| {decades} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def plot(report: dict) -> Figure:
    """Largest errors against decades: solid float64, dashed float32."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    solvers = list(dict.fromkeys(row["solver"] for row in report["worst"]))
    decades = sorted({row["decades"] for row in report["worst"]})
    for axes, distribution in zip(figure.subplots(1, 2, sharey=True), DISTRIBUTIONS, strict=True):
        for i, solver in enumerate(solvers):
            for dtype, style in zip(DTYPES, ("-", "--"), strict=True):
                errors = [
                    worst(report, distribution=distribution, decades=d, solver=solver, dtype=dtype)[0]
                    for d in decades
                ]
                shown = [np.nan if error is None else error for error in errors]
                axes.semilogy(decades, shown, f"C{i}o{style}", markersize=4, label=f"{solver}, {dtype}")
        axes.set(title=f"k {distribution}", xlabel="decades between the smallest and the largest k")
        axes.grid(alpha=0.3)
    # Beyond 1 no digit is right, however far beyond.
    figure.axes[0].set_ylim(top=10)
    figure.axes[0].set_ylabel("largest relative error of a potential")
    figure.axes[0].legend(fontsize=8, frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(main())
