# %% [markdown]
# # Susceptible edges and sectors
#
# Guzman et al. (2024; [references](../README.md#citing)) ask which edges of a trained resistor network
# matter. The task has an answer: the cost Hessian $\partial^2 C / \partial k_i \partial k_j$ at the learned
# solution has a few *stiff* modes, and the edges in them cannot be changed without loss. The physics alone
# has another: the susceptibility
#
# $$\left| \frac{\partial G}{\partial k_i} \right| = |s_i|^2, \qquad s_i = B_i\, G,$$
#
# of the response $G = H^{-1}$, where $B_i$ takes the drop across edge $i$. It knows nothing of inputs and
# targets. In trained networks the two agree, it finds. We train a disordered planar network, compare them
# on its map, and see what the susceptible edges do to the currents.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.collections import LineCollection
from scipy.stats import mannwhitneyu

import jaxphys as jp
from jaxphys.reports import pictures, style

# %matplotlib inline
jax.config.update("jax_enable_x64", True)

small = "JAXPHYS_SMALL" in os.environ  # a quick run, as our tests do it
particles, nodes, realizations, steps = (60, 50, 3, 1000) if small else (340, 300, 20, 10_000)

# %% [markdown]
# ## Network and task
#
# The contacts of jammed discs, cut out of the box they were packed in. Two nodes are held at voltages
# $u_1, u_2$, one is grounded, and two shall be at
#
# $$y = \begin{pmatrix} 0.15 & 0.3 \\ 0.2 & 0.1 \end{pmatrix} u .$$
#
# Every realization has its five nodes elsewhere, inside the rim and at least four bonds apart: what depends
# on where they happen to lie shows in the spread.

# %%
packing = jp.jammed_packing(particles, jax.random.key(1), boundary="open", num_nodes=nodes)
topology, positions = packing.topology, np.asarray(packing.topology.positions)
from_centre = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
inside, distances = np.flatnonzero(from_centre < 0.75 * from_centre.max()), topology.distances()
random = np.random.default_rng(0)
voltages = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 11)]), axis=-1).reshape(-1, 2)
voltages /= np.sqrt(np.mean(voltages**2, axis=0))


def placed():
    """Two inputs, a ground and two targets at random places, apart from one another."""
    while True:
        chosen = random.choice(inside, 5, replace=False)
        if distances[np.ix_(chosen, chosen)][np.triu_indices(5, 1)].min() >= (2 if small else 4):
            return chosen


def regression(nodes):
    """Network, task, and the boundary of somebody who knows of the ground alone."""
    network = jp.FlowNetwork(topology, random.uniform(1.0, 1.1, topology.num_edges))
    held = jp.Boundary(network, held_nodes=nodes[:2], ground=nodes[2:3])
    matrix = [[0.15, 0.3], [0.2, 0.1]]
    task = jp.regression(network, held, [], nodes[3:].tolist(), matrix=matrix, inputs=voltages)
    return network, task, jp.Boundary(network, ground=nodes[2:3])


placements = [placed() for _ in range(realizations)]
networks, tasks, grounded = map(jp.stack, zip(*map(regression, placements), strict=True))
print(f"{topology.num_nodes} nodes, {topology.num_edges} edges, {len(voltages)} samples")

# %% [markdown]
# ## Training
#
# Coupled learning, from conductances drawn from 1 to 1.1, kept between $10^{-3}$ and $10^3$. Some
# placements are not learned within these steps; what follows is about the networks that learned.

# %%
run = jp.train(
    networks,
    tasks,
    steps=steps,
    rule=jp.CoupledLearning(1e-3),
    optimizer=optax.chain(optax.sgd(30.0), jp.bounds(1e-3, 1e3)),
    stop_cost=1e-10,
)
learned = run.cost[:, -1] <= 1e-4 * run.cost[:, 0]
print("failures:", run.failures)
print(f"median cost {np.median(run.cost[:, 0]):.2g} -> {np.median(run.cost[:, -1]):.2g}")
print("learned (cost down by 1e4):", int(learned.sum()), "of", realizations)
assert not run.failures
assert np.all(run.cost[:, -1] < run.cost[:, 0])
assert small or learned.mean() > 0.5
assert learned.any()

# %% [markdown]
# ## What is measured
#
# In every network, before and after: eigenvalues of the exact cost Hessian; the share of each edge in its
# stiff modes (four, for two outputs that depend on two inputs; taken from the Gauss-Newton matrix, which is
# the exact Hessian at zero cost); the susceptibility with the ground alone held, as a stranger would; the
# voltages for one unit of each input.


# %%
def pick(tree, number):
    """One realization of an ensemble."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


@jax.jit
def measure(network, task, ground):
    """Cost eigenvalues, stiffness, susceptibility, relative conductance and voltages."""
    return {
        "k": network.k,
        "eigenvalues": jnp.linalg.eigvalsh(jp.diagnostics.cost_hessian(network, task))[::-1],
        "stiffness": jnp.sqrt(jnp.sum(jp.diagnostics.stiff_modes(network, task, 4).modes ** 2, axis=0)),
        "susceptibility": jp.diagnostics.susceptibility(network, ground),
        "relative": jp.diagnostics.relative_conductance(network),
        "voltages": jp.respond(network, task).drive,
    }


kept = np.flatnonzero(learned)
found = {
    stage: [jax.device_get(measure(*pick((ensemble, tasks, grounded), number))) for number in kept]
    for stage, ensemble in (("before", networks), ("after", run.network))
}

with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for stage, color in (("before", style.GREY), ("after", style.BLUE)):
        values = np.stack([np.abs(one["eigenvalues"][:12]) for one in found[stage]])
        low, middle, high = pictures.quantiles(values)
        axes.fill_between(np.arange(1, 13), low, high, color=color, alpha=0.2, linewidth=0)
        axes.semilogy(np.arange(1, 13), middle, "o-", color=color, ms=4, label=f"{stage} learning")
    axes.set(xlabel="mode of the cost Hessian, largest first", ylabel="|eigenvalue|")
    axes.legend(frameon=False)
gap = np.array([one["eigenvalues"][3] / np.abs(one["eigenvalues"][4:]).max() for one in found["after"]])
print(f"fourth eigenvalue over the next one, after: median {np.median(gap):.3g}")
assert small or np.median(gap) > 30

# %% [markdown]
# Four directions in the space of conductances are stiff, as many as there are coefficients to learn; in all
# others the cost is nearly flat.
#
# ## The maps
#
# The first network that learned. Before, the cost hangs on the edges at the terminals and the
# susceptibility on those at the ground; after learning both mark edges between and around inputs and
# targets, mostly the same ones.


# %%
def edge_map(axes, values, label, *, log=False):
    """A value for every edge: dark and wide where it is large."""
    scaled = np.log10(values) if log else values
    low, high = np.quantile(scaled, [0.02, 0.995]) if log else (0.0, np.quantile(scaled, 0.995))
    share = np.clip((scaled - low) / (high - low), 0, 1)
    order = np.argsort(share)
    lines = LineCollection(
        positions[np.asarray(topology.edges)][order],
        array=scaled[order],
        cmap=style.STRENGTH,
        clim=(low, high),
    )
    lines.set_linewidths(0.4 + 2.4 * share[order])
    axes.add_collection(lines)
    axes.scatter(*positions[inputs].T, marker="^", s=50, color="#f5c000", edgecolor="black", lw=0.6, zorder=3)
    axes.scatter(
        *positions[targets].T, marker="s", s=40, color="#ff6b4a", edgecolor="black", lw=0.6, zorder=3
    )
    axes.scatter(*positions[ground].T, marker="v", s=50, color="#1a1a1a", zorder=3)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.autoscale_view()
    axes.figure.colorbar(lines, ax=axes, shrink=0.7, label=f"log₁₀ {label}" if log else label)


shown = 0
inputs, ground, targets = np.split(placements[kept[shown]], [2, 3])
figure, panels = plt.subplots(2, 2, figsize=(8.6, 7.4), dpi=64, layout="constrained")
for row, stage in zip(panels, ("before", "after"), strict=True):
    edge_map(row[0], found[stage][shown]["stiffness"], "share in the stiff modes")
    edge_map(row[1], found[stage][shown]["susceptibility"], "susceptibility", log=True)
    row[0].set_title(f"{stage} learning: the cost", loc="left", fontsize=10)
    row[1].set_title(f"{stage} learning: the physics alone", loc="left", fontsize=10)
handles = [
    plt.Line2D([], [], ls="", marker=marker, color=color, mec="black", mew=0.6, label=label)
    for marker, color, label in (
        ("^", "#f5c000", "input"),
        ("s", "#ff6b4a", "target"),
        ("v", "#1a1a1a", "ground"),
    )
]
legend = figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)

# %% [markdown]
# How well does susceptibility tell the stiffest 5 % of edges from the others? The area under the ROC curve
# is the probability that a stiff edge has the larger susceptibility of a random pair: ½ by chance, 1 if all
# have.


# %%
def largest(values, fraction=0.05):
    """The edges with the largest values."""
    return values >= np.quantile(values, 1 - fraction)


def area(one):
    """Area under the ROC curve by which susceptibility tells the stiffest edges."""
    stiff = largest(one["stiffness"])
    pairs = stiff.sum() * (~stiff).sum()
    return mannwhitneyu(one["susceptibility"][stiff], one["susceptibility"][~stiff]).statistic / pairs


areas = {stage: np.array([area(one) for one in ones]) for stage, ones in found.items()}
for stage, values in areas.items():
    print(f"{stage:6} learning: area {np.median(values):.3f} ({values.min():.3f} to {values.max():.3f})")
assert small or np.median(areas["after"]) > 0.9
assert small or np.all(areas["after"] > areas["before"])

# %% [markdown]
# ## What these edges do
#
# They are weak and carry little current. The voltages fall into *sectors*, regions of nearly equal voltage
# with jumps, *walls*, between them, found by persistent homology (components that last over at least a
# twentieth of the voltage's range). Susceptible edges lie on walls many times more often than edges in
# general; by far not all of them do.

# %%
ends = np.asarray(topology.edges)


def walls(one):
    """Of the most susceptible 5 %: relative current, share weaker than neighbours, share on walls."""
    chosen = largest(one["susceptibility"])
    drops = one["voltages"][:, ends[:, 0]] - one["voltages"][:, ends[:, 1]]
    current = one["k"] * np.linalg.norm(drops, axis=0)
    between = [
        jp.diagnostics.sectors(topology, voltage, 0.05 * np.ptp(voltage)).boundary
        for voltage in one["voltages"]
    ]
    on_wall = np.any(between, axis=0)
    weak = np.mean(one["relative"][chosen] < 1)
    return np.median(current[chosen]) / np.median(current), weak, on_wall[chosen].mean(), on_wall.mean()


for stage, ones in found.items():
    measures = np.array([walls(one) for one in ones])
    blocked, weak, on_wall, everywhere = np.median(measures, axis=0)
    print(f"{stage:6} learning: current of the most susceptible edges over that of all {blocked:.2f}")
    print(f"       weaker than neighbours {weak:.0%}; on walls {on_wall:.0%}, of all edges {everywhere:.0%}")
assert small or (blocked < 0.5 and weak > 0.8 and on_wall > 2 * everywhere)

# %%
one = found["after"][shown]
figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.3), dpi=72, layout="constrained")
for number, (axes, voltage) in enumerate(zip(panels, one["voltages"], strict=True), start=1):
    sectors = jp.diagnostics.sectors(topology, voltage, 0.05 * np.ptp(voltage))
    inside = ~sectors.boundary
    axes.add_collection(LineCollection(positions[ends[inside]], colors="#b0b0b0", linewidths=0.7))
    axes.add_collection(LineCollection(positions[ends[~inside]], colors=style.ORANGE, linewidths=1.4))
    susceptible = largest(one["susceptibility"])
    middle = positions[ends[susceptible]].mean(axis=1)
    drawn = axes.scatter(*positions.T, c=voltage, s=18, cmap="cividis", zorder=2)
    axes.scatter(*middle.T, marker="x", s=22, color="black", lw=1.0, zorder=3)
    count = len(np.unique(sectors.labels))
    axes.set_title(f"one volt at input {number}: {count} sectors", loc="left", fontsize=10)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, shrink=0.7, label="voltage")
handles = [
    plt.Line2D([], [], color=style.ORANGE, label="edge between two sectors"),
    plt.Line2D([], [], ls="", marker="x", color="black", label="most susceptible 5 % of edges"),
]
legend = figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)

# %% [markdown]
# So the map on the right above, which anyone can compute who knows the network and not its task, points to
# where the task is held. Not all that Guzman et al. (2024) say of it holds in our networks: see the claims
# on figures 4 to 12 in [Reproduction](../docs/reproduce.md).
