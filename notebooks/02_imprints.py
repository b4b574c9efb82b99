# %% [markdown]
# # Imprints: what learning leaves behind
#
# A network that learned a task is another physical system than before, whether or not anybody asks it to
# perform the task. Stern et al. (2023; [references](../README.md#citing)) predict how: the direction in
# which it must respond becomes *soft*. We train an ensemble of random flow networks, each on one response,
# and look at four numbers of the Hessian $H = \sum_i k_i Q_i$ with eigenvalues
# $\lambda_1 \le \lambda_2 \le \dots \le \lambda_m$ and modes $v_a$:
#
# - the softest eigenvalue $\lambda_1$;
# - the effective conductance $\sqrt{\tfrac1m \sum_a \lambda_a^{-2}}$, the root-mean-square response to
#   random forces;
# - the effective dimension $(\sum_a \lambda_a^{-2})^2 / (3 \sum_a \lambda_a^{-4})$, how many modes share
#   it;
# - the alignment $|v_a \cdot F| / |F|$ of the modes with the force $F$ of the task.

# %%
import os

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxphys as jp
from jaxphys.io import run_dataset
from jaxphys.reports import pictures, run_plots, style

# %matplotlib inline
jax.config.update("jax_enable_x64", True)

small = "JAXPHYS_SMALL" in os.environ  # a quick run, as our tests do it
realizations, steps = (6, 200) if small else (50, 1000)

# %% [markdown]
# ## An ensemble
#
# Fifty random graphs of 40 nodes and 60 edges, all conductances 10. A unit current at one random node shall
# raise the pressure at another one to 0.3. Nothing is grounded: the uniform pressure, which costs no
# energy, is projected out. Realizations have graphs of their own and yet train side by side, for arrays of
# equal shapes stack.


# %%
def flow_network(key):
    """A random network and its task: a pressure at one random node in answer to a current at another."""
    graph, places = jax.random.split(key)
    network = jp.FlowNetwork(jp.erdos_renyi(40, 60, graph), k=10.0)
    source, target = jax.random.choice(places, 40, (2,), replace=False).tolist()
    boundary = jp.Boundary(network, free_modes="project")
    return network, jp.allostery(network, boundary, [source], [target], response=0.3)


pairs = [flow_network(key) for key in jax.random.split(jax.random.key(0), realizations)]
networks, tasks = map(jp.stack, zip(*pairs, strict=True))
print("conductances", networks.k.shape, "edges", networks.topology.edges.shape)

# %% [markdown]
# ## Training, and what is measured on the way
#
# `functionals` names what is recorded along the run, here from `jp.diagnostics`. A step follows the
# gradient $-\partial C/\partial k$ and keeps every conductance above 0.01.

# %%
alignments = ("force_alignment", "response_alignment")
recorded = ("eigenvalues", "effective_conductance", "effective_dimension", *alignments)
run = jp.train(
    networks,
    tasks,
    steps=steps,
    optimizer=jp.Descent(optax.chain(optax.sgd(1.0), jp.bounds(1e-2)), adaptive=jp.AdaptiveStep()),
    stop_cost=1e-20,
    record=jp.Record(
        steps=np.unique(np.geomspace(1, steps, 60).astype(int)),
        functionals={name: jp.diagnostics.FUNCTIONALS[name] for name in recorded},
    ),
)
dataset = run_dataset(run)
print("failures:", run.failures, " learned:", int(np.sum(run.cost[:, -1] < 1e-16)), "of", realizations)
assert not run.failures
assert np.all(run.cost[:, -1] < 1e-4 * run.cost[:, 0])
assert small or np.all(run.cost[:, -1] < 1e-16)
run_plots.learning_curves(dataset)

# %% [markdown]
# ## Soft modes
#
# The softest mode falls by far the most, to less than half of what it was; the mode in the middle by about
# a tenth, the stiffest, which has least to say in a response, by a few per cent (medians).

# %%
eigenvalues = run.records["eigenvalues"]
change = eigenvalues[:, -1] / eigenvalues[:, 0]
for name, mode in (("softest", 0), ("second", 1), ("median", eigenvalues.shape[-1] // 2), ("stiffest", -1)):
    low, middle, high = pictures.quantiles(change[:, mode])
    print(f"{name:8} mode: λ after / λ before = {middle:.2f} ({low:.2f} to {high:.2f})")
print("softest mode softer in", int(np.sum(change[:, 0] < 1)), "of", realizations)
assert np.mean(change[:, 0] < 1) > 0.9
assert np.median(change[:, 0]) < 0.5 < 0.75 < np.median(change[:, eigenvalues.shape[-1] // 2])
run_plots.spectrum_change(dataset)

# %% [markdown]
# ## More conductive, in fewer dimensions
#
# One soft mode dominates the response to almost *any* force: the network responds more strongly, and in
# fewer directions. With one mode alone the effective dimension would be 1/3.

# %%
conductance = run.records["effective_conductance"]
dimension = run.records["effective_dimension"]
for name, values in (("conductance", conductance), ("dimension", dimension)):
    low, middle, high = pictures.quantiles(values[:, -1] / values[:, 0])
    print(f"effective {name}: after / before = {middle:.2f} ({low:.2f} to {high:.2f})")
print(f"effective dimension after: {np.median(dimension[:, -1]):.2f}")
assert np.mean(conductance[:, -1] > conductance[:, 0]) > 0.9
assert np.mean(dimension[:, -1] < dimension[:, 0]) > 0.8
run_plots.conductance_and_dimension(dataset)

# %% [markdown]
# ## Alignment
#
# Which way does the soft mode point? Its overlap with the applied force, and with the response that the
# force makes, before and after learning.


# %%
def band(axes, values, color, label):
    """Median over realizations, and the band from 10 to 90 %."""
    low, middle, high = pictures.quantiles(values)
    modes = np.arange(1, len(middle) + 1)
    axes.fill_between(modes, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(modes, middle, "o-", color=color, ms=3, lw=1, label=label)


with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}):
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
    for axes, name, what in zip(panels, ("force", "response"), ("F", "x"), strict=True):
        aligned = run.records[f"{name}_alignment"][..., 0]
        band(axes, aligned[:, 0], style.GREY, "before learning")
        band(axes, aligned[:, -1], style.BLUE, "after learning")
        axes.set(xlabel="mode index, softest first", ylabel=f"|v·{what}| / |{what}|")
        axes.set_title(f"with the {name}")
    panels[0].legend(frameon=False)

force, response = (run.records[f"{name}_alignment"][:, :, 0, 0] for name in ("force", "response"))
for name, values in (("force", force), ("response", response)):
    print(f"softest mode with the {name}: {np.median(values[:, 0]):.2f} -> {np.median(values[:, -1]):.2f}")
assert np.median(force[:, -1]) > np.median(force[:, 0])
assert np.median(response[:, -1]) > 0.9

# %% [markdown]
# ## Why: the first step
#
# To first order a step changes an eigenvalue by $\delta\lambda_a = v_a^{\mathsf T}\, \delta H\, v_a$ with
# $\delta H = \sum_i \delta k_i Q_i$. `predicted_eigenvalue_change` gives it per unit of learning rate; a
# small step confirms it. The softest mode begins to fall in most networks, not in all: it takes the whole
# run until it lies along the response of the task and has fallen in every one.

# %%
rate = 1e-4


@jax.jit
@jax.vmap
def first_step(network, task):
    """Change of all eigenvalues per unit of learning rate: by a small step, and as predicted."""
    moved = network.with_k(network.k + rate * jp.diagnostics.learning_direction(network, task))
    before, after = (jp.diagnostics.eigenvalues(one, task.boundary) for one in (network, moved))
    return (after - before) / rate, jp.diagnostics.predicted_eigenvalue_change(network, task)


measured, predicted = map(np.asarray, first_step(networks, tasks))
error = np.abs(measured - predicted).max() / np.abs(predicted).max()
print(f"largest error over the largest change: {error:.1e}")
print(
    f"softest mode falls in {int(np.sum(predicted[:, 0] < 0))} of {realizations} at the first step,", end=" "
)
print(f"in {int(np.sum(change[:, 0] < 1))} by the last")
assert error < 0.01
assert small or np.mean(predicted[:, 0] < 0) > 0.6

# %% [markdown]
# One network of the ensemble, before and after: a strong path joins source and output, and weak edges keep
# the current from the rest.

# %%
run_plots.network_map(dataset)

# %% [markdown]
# The same measures, all claims of the paper and how many of them hold:
# [Reproduction](../docs/reproduce.md). Whether an imprint tells a trained network from an untrained one is
# another question: [notebook 5](05_inspect_a_stranger.ipynb).
