# %% [markdown]
# # Inspect a stranger
#
# Somebody hands us two files. Each holds a resistor network, nodes and measured conductances, and nothing
# else. One was trained to answer at some node to a current at another one; in the other the same
# conductances lie in random places. Which is which, and what was it trained for?
#
# The evidence is the *imprint*. To first order, learning a response between nodes $a$ and $b$ changes $k_i$
# in proportion to $P_i(a, b) = u_i(a)\, u_i(b)$, the product of the drops that unit currents at $a$ and at
# $b$ make across edge $i$. `inspect_network` correlates $-k$ with $P(a, b)$ for every pair of nodes and
# compares the largest correlation with that of networks whose conductances were put elsewhere ([how, and
# why that is exact](../docs/inspect.md)).

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxphys as jp
from jaxphys.io import read_network, save_network
from jaxphys.reports import style
from jaxphys.reports.findings_plots import draw_findings

# %matplotlib inline
jax.config.update("jax_enable_x64", True)

small = "JAXPHYS_SMALL" in os.environ  # a quick run, as our tests do it
number, draws = (2, 39) if small else (20, 200)

# %% [markdown]
# ## What the other side does
#
# It trains an ensemble, each network on a graph and a task of its own, writes conductances down as measured
# with errors of 5 %, and makes a twin of each in which the same numbers lie in random places. The first
# pair goes into files, in an order that a coin decides.


# %%
def pair(key):
    """A random network of 40 nodes and its task, a response at a random node."""
    graph, places = jax.random.split(key)
    network = jp.FlowNetwork(jp.erdos_renyi(40, 60, graph), k=10.0)
    source, target = jax.random.choice(places, 40, (2,), replace=False).tolist()
    boundary = jp.Boundary(network, free_modes="project")
    return network, jp.allostery(network, boundary, [source], [target], response=0.3), (source, target)


starts, tasks, terminals = zip(*map(pair, jax.random.split(jax.random.key(7), number)), strict=True)
run = jp.train(
    jp.stack(starts),
    jp.stack(tasks),
    steps=1000,
    optimizer=jp.Descent(optax.chain(optax.sgd(1.0), jp.bounds(1e-2)), adaptive=jp.AdaptiveStep()),
    stop_cost=1e-10,
    record=jp.Record(steps=[]),
)
assert not run.failures

random = np.random.default_rng(1)
measured = np.asarray(run.network.k) * (1 + 0.05 * random.standard_normal(run.network.k.shape))
trained = [start.with_k(jnp.asarray(k)) for start, k in zip(starts, measured, strict=True)]
twins = [one.with_k(jnp.asarray(random.permutation(one.k))) for one in trained]

trained_first = bool(random.integers(2))
for name, network in zip(
    ("first", "second"), (trained[0], twins[0])[:: 1 if trained_first else -1], strict=True
):
    save_network(network, f"{name}.json")
print({path.name: path.stat().st_size for path in sorted(Path().glob("*.json"))}, "bytes")

# %% [markdown]
# ## What we see
#
# Both have the same distribution of conductances; nothing in it tells them apart.

# %%
files = {name: read_network(f"{name}.json") for name in ("first", "second")}
options = {"num_null": draws, "null_models": ("shuffled", "redrawn", "smooth")}
findings = {
    name: jp.inspect_network(one.network, labels=one.labels, **options) for name, one in files.items()
}
for name, found in findings.items():
    print(f"{name}.json: {found.verdict} (p = {found.p_value:.3g})")
    print("   ", *found.reasons)

# %% [markdown]
# The envelope is opened.

# %%
truth = {"first": trained_first, "second": not trained_first}
for name, found in findings.items():
    print(f"{name}.json was {'trained' if truth[name] else 'not trained'}; we said: {found.verdict}")
suspect = next(found for name, found in findings.items() if truth[name])
other = next(found for name, found in findings.items() if not truth[name])
print("trained between", set(terminals[0]), " suspected:", set(suspect.terminals))
assert suspect.verdict == "trained"
assert other.verdict != "trained"
assert set(suspect.terminals) & set(terminals[0])

# %% [markdown]
# ## What the pictures show
#
# Where the trace is, and by how much each number of the network stands out from its shuffled selves.

# %%
pictures = {picture.name: picture for picture in draw_findings(suspect)}
print(pictures["suspects"].caption)
pictures["suspects"].figure

# %%
print(pictures["statistics"].caption)
pictures["statistics"].figure

# %% [markdown]
# The twin, whose numbers are the same and in other places:

# %%
print(*other.reasons)
next(picture.figure for picture in draw_findings(other) if picture.name == "statistics")

# %% [markdown]
# ## How far to trust it
#
# One case proves nothing. All trained networks and all twins, inspected in the same way:

# %%
kinds = {"trained": trained, "twins": twins}
verdicts = {
    kind: [jp.inspect_network(network, seed=seed, **options) for seed, network in enumerate(networks)]
    for kind, networks in kinds.items()
}
p = {kind: np.array([found.p_value for found in ones]) for kind, ones in verdicts.items()}
called = {kind: np.mean([found.verdict == "trained" for found in ones]) for kind, ones in verdicts.items()}
pairs = zip(verdicts["trained"], terminals, strict=True)
right = [len(set(found.terminals) & set(true)) for found, true in pairs]
for kind, share in called.items():
    print(f"{kind}: {share:.0%} of {number} called trained")
print(f"trained: both terminals found in {right.count(2)}, one in {right.count(1)}, none in {right.count(0)}")
beyond = {
    name: np.mean([abs(found.statistics[name].z) > 2 for found in verdicts["trained"]])
    for name in ("imprint", "softness", "effective_conductance", "effective_dimension")
}
print("trained, beyond two standard deviations of their shuffled selves:")
for name, share in beyond.items():
    print(f"    {name} {share:.0%}")
assert called["trained"] > called["twins"]
assert small or (called["trained"] > 0.8 and called["twins"] < 0.25 and right.count(2) > number / 2)
others = max(share for name, share in beyond.items() if name != "imprint")
assert small or beyond["imprint"] > 2 * others

with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (kind, values), color in zip(p.items(), (style.BLUE, style.GREY), strict=True):
        axes.step(np.sort(values), np.arange(1, number + 1) / number, where="post", color=color, label=kind)
    axes.axvline(0.05, color=style.ORANGE, lw=1, ls="--", label="called trained up to p = 0.05")
    axes.plot([0, 1], [0, 1], color="#c0c0c0", lw=0.8, ls=":", label="uniform p-values")
    axes.set(xlabel="p-value", ylabel="fraction of networks up to it", xlim=(0, 1.02), ylim=(0, 1.03))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)

# %% [markdown]
# - A network that learned one response is called trained nearly always, and mostly its two terminals are
#   named. Source and target cannot be told apart: $G$ is symmetric.
# - What [learning changed](02_imprints.ipynb), softest mode, conductance and dimension, seldom tells the
#   network from its shuffled selves: the same spread of conductances makes a network soft wherever it lies.
#   The places tell.
# - p ≤ 0.05 calls one untrained network in twenty trained, or fewer: `p_value` is the largest over several
#   null models.
# - "Not distinguishable" is not "untrained". Regressions, large steps of learning and training by a few per
#   cent hide the imprint.
# - A smooth field or a gradient of conductances, which nobody trained, passes for training in about one
#   case of eight. The [table of rates](../docs/inspect.md#how-far-to-trust-it) has 2228 untrained networks
#   and a dozen kinds of training.
