# %% [markdown]
# # A thousand realizations
#
# What learning does to *a* network is an anecdote; statements about learning need an ensemble. A thousand
# networks of the kind of Stern et al. (2023; [references](../README.md#citing)), fully connected, $H = W$,
# learn a random linear task each, side by side in one compiled program. All times below were measured while
# this notebook ran, on the machine that the first cell names.

# %%
import os
import platform
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxphys as jp
from jaxphys.io import run_dataset
from jaxphys.reports import pictures, run_plots, style

# %matplotlib inline
jax.config.update("jax_enable_x64", True)

small = "JAXPHYS_SMALL" in os.environ  # a quick run, as our tests do it
realizations, steps = (40, 50) if small else (1000, 500)
print(platform.machine(), "cores:", os.cpu_count(), jax.devices(), "jax", jax.__version__)

# %% [markdown]
# ## Making them
#
# Networks are pytrees. `vmap` draws all matrices at once; tasks are checked on the host one by one, and
# stacked.

# %%
nodes = 20


@jax.jit
@jax.vmap
def couplings(key):
    """Upper triangle of `W = sym(N(0, 1)) + 3 √(2N) 1`, which is positive definite with a wide margin."""
    draws = jax.random.normal(key, (nodes, nodes))
    matrix = (draws + draws.T) / 2 + 3 * np.sqrt(2 * nodes) * jnp.eye(nodes)
    return matrix[np.triu_indices(nodes)]


keys = jax.random.split(jax.random.key(0), (realizations, 2))
start = time.perf_counter()
singles = [jp.NodeNetwork(k) for k in np.asarray(couplings(keys[:, 0]))]
own_tasks = [jp.random_linear(network, 1, key) for network, key in zip(singles, keys[:, 1], strict=True)]
networks, tasks = jp.stack(singles), jp.stack(own_tasks)
print(f"{realizations} networks of {networks.k.shape[1]} couplings in {time.perf_counter() - start:.1f} s")

# %% [markdown]
# ## Training all of them

# %%
settings = {
    "steps": steps,
    "optimizer": jp.Descent(
        optax.chain(jp.precondition(singles[0].frobenius_metric), optax.sgd(1.0)), adaptive=jp.AdaptiveStep()
    ),
}
record = jp.Record(
    steps=np.unique(np.geomspace(1, steps, 40).astype(int)),
    functionals={name: jp.diagnostics.FUNCTIONALS[name] for name in ("eigenvalues", "effective_dimension")},
)
start = time.perf_counter()
run = jp.train(networks, tasks, record=record, **settings)
elapsed = time.perf_counter() - start
print(f"{realizations} networks x {steps} steps in {elapsed:.1f} s, compilation and records included")
print("failures:", run.failures)
print(f"median cost {np.median(run.cost[:, 0]):.2g} -> {np.median(run.cost[:, -1]):.2g}")
assert not run.failures
assert np.all(run.cost[:, -1] < run.cost[:, 0])
dataset = run_dataset(run)
run_plots.learning_curves(dataset)

# %% [markdown]
# Bands, not error bars of a mean: between 10 and 90 % of the networks. The slowest tenth has a cost orders
# of magnitude above the fastest at the same step, which no mean would show.

# %%
low, middle, high = pictures.quantiles(run.cost / run.cost[:, :1])
half = int(np.argmax(middle < 1e-6)) if (middle < 1e-6).any() else len(middle) - 1
print(
    f"C / C(0) at step {run.steps[half]}: {low[half]:.1e}, {middle[half]:.1e}, {high[half]:.1e} (10/50/90 %)"
)
run_plots.eigenvalue_flow(dataset)

# %% [markdown]
# ## How many are needed?
#
# The lowest eigenvalue falls: by how much? Subsets of $R$ networks answer with an error that shrinks as
# $R^{-1/2}$. With ten networks the answer is uncertain by a visible amount, with a thousand the error is a
# tenth of that.

# %%
fall = run.records["eigenvalues"][:, -1, 0] / run.records["eigenvalues"][:, 0, 0]
print(f"lowest eigenvalue, after / before: mean {fall.mean():.3f}, standard deviation {fall.std():.3f}")
random = np.random.default_rng(0)
sizes = np.unique(np.geomspace(4, realizations // 2, 12).astype(int))
errors = [np.std([random.choice(fall, size).mean() for _ in range(2000)]) for size in sizes]
exponent = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
print(f"exponent {exponent:.2f}; error of the mean of all: {fall.std() / np.sqrt(realizations):.1e}")
assert abs(exponent + 0.5) < 0.05

with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
    figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    panels[0].hist(fall, bins=40, color=style.BLUE)
    panels[0].set(xlabel="lowest eigenvalue, after / before", ylabel="networks")
    panels[1].loglog(sizes, errors, "o", color=style.BLUE, ms=4, label="spread of means of R networks")
    panels[1].loglog(sizes, fall.std() / np.sqrt(sizes), color=style.GREY, lw=1, label="s.d. / √R")
    panels[1].set(xlabel="networks R", ylabel="error of the mean")
    panels[1].legend(frameon=False)

# %% [markdown]
# ## What it takes side by side, and one by one
#
# The same training without records. Every call compiles for its number of realizations; that is not
# counted, and `Run.seconds` would tell the two apart. The loop calls `train` for each network, with its
# program compiled once.


# %%
def seconds(size):
    """Time to train the first so many networks, the best of three after one that compiles."""
    some = jax.tree.map(lambda leaf: leaf[:size], (networks, tasks))
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        jp.train(*some, record=jp.Record(steps=[]), **settings)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


sizes = [1, 40] if small else [1, 10, 100, 1000]
times = np.array([seconds(size) for size in sizes])
looped = 5
start = time.perf_counter()
for number in range(looped):
    jp.train(singles[number], own_tasks[number], record=jp.Record(steps=[]), **settings)
loop = (time.perf_counter() - start) / looped

for size, taken in zip(sizes, times, strict=True):
    each = taken / size
    print(
        f"{size:5} side by side: {taken:7.3f} s, {1e3 * each:7.2f} ms each, {1e6 * each / steps:5.1f} µs/step"
    )
print(f"a loop over networks: {1e3 * loop:.1f} ms each, {loop * sizes[-1] / times[-1]:.0f} times as long")
assert small or loop > 3 * times[-1] / sizes[-1]

with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    axes.loglog(sizes, 1e3 * times / sizes, "o-", color=style.BLUE, label="side by side")
    axes.axhline(1e3 * loop, color=style.ORANGE, ls="--", label="one by one, in a loop")
    axes.set(xlabel="networks in one call", ylabel="milliseconds for each network", ylim=(None, 3e3 * loop))
    axes.legend(frameon=False)

# %% [markdown]
# Two things add up: what a call costs whatever it does is shared, and arithmetic over many small matrices
# fills vector units that one small matrix leaves idle. From some hundred networks on the time of each
# settles. Beside a NumPy loop, on other networks and solvers: [Performance](../docs/performance.md); more
# devices, hosts and checkpoints: [From one laptop to a cluster](../docs/cluster.md). `jp.train` takes care
# of memory by working on blocks of realizations; `jaxphys train` does the same from a file.
