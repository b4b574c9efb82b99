# %% [markdown]
# # A first network
#
# A flow network is a graph whose edges are conductors. Edge $i$ between nodes $s$ and $t$ costs the energy
# $\tfrac12 k_i (V_s - V_t)^2$, half the power that it dissipates, and the voltages settle where the total
#
# $$E(V; k) = \sum_i k_i\, \tfrac12 (V_{s_i} - V_{t_i})^2$$
#
# is smallest under what is held. The conductances $k_i$ are what learns. We build networks, check a state
# by hand, set a task, compare the update that an edge can find on its own with the gradient of the cost,
# and train.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxphys as jp
from jaxphys.io import run_dataset
from jaxphys.reports import run_plots, style

# %matplotlib inline
jax.config.update("jax_enable_x64", True)  # jaxphys leaves the precision to you

small = "JAXPHYS_SMALL" in os.environ  # a quick run, as our tests do it
side = 6 if small else 8

# %% [markdown]
# ## A bridge, by hand
#
# Wheatstone's bridge: one volt at node 0, ground at node 3, and a bridge between nodes 1 and 2. Kirchhoff's
# law at those two,
#
# $$\begin{aligned}
# (k_{01} + k_{12} + k_{13})\,V_1 - k_{12} V_2 &= k_{01}\\
# (k_{02} + k_{12} + k_{23})\,V_2 - k_{12} V_1 &= k_{02},
# \end{aligned}$$
#
# is solved on paper by Cramer's rule. `equilibrate` finds the same.

# %%
bridge = jp.FlowNetwork(jp.from_edges([(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]), k=[1.0, 2.0, 3.0, 4.0, 5.0])
held = jp.Boundary(bridge, held_nodes=[0], ground=[3])
state = jp.equilibrate(bridge, held, values=jnp.array([1.0]))

k01, k02, k12, k13, k23 = np.asarray(bridge.k)
a, b = k01 + k12 + k13, k02 + k12 + k23
by_hand = np.array([k01 * b + k12 * k02, k02 * a + k12 * k01]) / (a * b - k12**2)
print("by hand    ", by_hand)
print("equilibrate", np.asarray(state.x[1:3]), jp.Status(int(state.status)).name)
assert np.allclose(state.x[1:3], by_hand, rtol=1e-14, atol=0)

balanced = bridge.with_k(jnp.array([1.0, 2.0, 3.0, 4.0, 8.0]))  # k01 / k13 = k02 / k23
voltages = jp.equilibrate(balanced, held, values=jnp.array([1.0])).x
print("current through the balanced bridge:", float(3.0 * (voltages[1] - voltages[2])))
assert abs(voltages[1] - voltages[2]) < 1e-14

# %% [markdown]
# ## A task
#
# On a triangular lattice we hold one volt at the left end of the middle row and ground its right end. Two
# nodes, one above and one below, are read out. They shall be at 0.8 and 0.2 V, and both are near 0.4 V. The
# cost is $C = \tfrac12 \sum_o (y_o - t_o)^2$.

# %%
topology = jp.triangular_lattice((side, side))
network = jp.FlowNetwork(topology, k=1.0)
middle, column = side * (side // 2), side // 2
source, sink = middle, middle + side - 1
outputs = [side * (side - 1) + column, column]
wanted = np.array([0.8, 0.2])
boundary = jp.Boundary(network, held_nodes=[source], ground=[sink])
task = jp.allostery(network, boundary, [], outputs, response=wanted.tolist())

free = jp.equilibrate(network, boundary, values=jnp.ones(1)).x
print(f"{topology.num_nodes} nodes, {topology.num_edges} edges; outputs", np.asarray(free)[outputs])

# %% [markdown]
# ## What an edge can find out on its own
#
# *Clamp* the outputs: hold them a little closer to their targets, at $y + \eta\,(t - y)$. Every edge then
# feels another drop than in the free state, and the difference of its own energy,
#
# $$\delta k_i \propto -\frac{e_i(V^C) - e_i(V^F)}{\eta}, \qquad e_i = \tfrac12 (V_{s_i} - V_{t_i})^2,$$
#
# is what coupled learning changes it by: no edge needs to know of the others. `CoupledLearning` measures
# just this.

# %%
eta = 1e-3
clamp = jp.Boundary(network, held_nodes=[source, *outputs], ground=[sink])
at_rest = free[jnp.array(outputs)]
nudged = at_rest + eta * (wanted - at_rest)
clamped = jp.equilibrate(network, clamp, values=jnp.append(1.0, nudged)).x

local = (network.edge_energies(clamped) - network.edge_energies(free)) / eta
rule = jax.jit(lambda network: jp.CoupledLearning(eta)(network, task).gradient)(network)
print("largest difference of the two:", float(jnp.abs(local - rule).max()))
assert jnp.allclose(local, rule, rtol=1e-9, atol=1e-12)

# %% [markdown]
# Is it the gradient? Automatic differentiation goes through the equilibrium and tells. Coupled learning is
# close and not the same: as $\eta \to 0$ it replaces the errors $r = t - y$ by $G_{TT}^{-1} r$, where
# $G_{TT}$ is how the outputs respond to currents into one another. *Equilibrium propagation* pushes the
# outputs with currents $-\eta\,\partial C / \partial y$ in place of holding them. One-sided, it misses the
# gradient by an error of order $\eta$; averaged over $\pm\eta$, by nothing but rounding, since energies are
# quadratic.

# %%
exact = jax.jit(jax.grad(lambda k: jp.task_cost(network.with_k(k), task)))(network.k)


@jax.jit
@jax.vmap
def errors(eta):
    """Relative distance of both estimates from automatic differentiation."""
    rules = (jp.EquilibriumPropagation(eta), jp.EquilibriumPropagation(eta, symmetric=True))
    distances = (jnp.linalg.norm(rule(network, task).gradient - exact) for rule in rules)
    return [distance / jnp.linalg.norm(exact) for distance in distances]


nudges = np.geomspace(1e-6, 1.0, 7)
one_sided, symmetric = map(np.asarray, errors(jnp.asarray(nudges)))

with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.loglog(nudges, one_sided, "o-", color=style.BLUE, label="equilibrium propagation, one-sided")
    axes.loglog(nudges, symmetric, "^-", color=style.ORANGE, label="equilibrium propagation, ±η")
    axes.set(xlabel="nudge η", ylabel="relative error of ∂C/∂k", ylim=(1e-17, 10))
    axes.legend(frameon=False, fontsize=9)

order = np.polyfit(np.log(nudges), np.log(one_sided), 1)[0]
print(f"order of the one-sided error in η: {order:.3f}; largest symmetric error: {symmetric.max():.1e}")
assert abs(order - 1) < 0.02
assert symmetric.max() < 1e-12

cosine = local @ exact / (jnp.linalg.norm(local) * jnp.linalg.norm(exact))
print(f"coupled learning: cosine with the gradient {cosine:.3f}")
assert 0.5 < cosine < 1

# %% [markdown]
# ## Training
#
# `train` repeats the step, here by equilibrium propagation, with conductances kept above 0.01. A step is
# taken only if the cost falls (`AdaptiveStep`). `run_dataset` gives the run as a labelled dataset, which
# the pictures are drawn from.

# %%
run = jp.train(
    network,
    task,
    steps=300,
    rule=jp.EquilibriumPropagation(1e-3, symmetric=True),
    optimizer=jp.Descent(optax.chain(optax.sgd(1.0), jp.bounds(1e-2)), adaptive=jp.AdaptiveStep()),
    stop_cost=1e-16,
    record=jp.Record(every=1),
)
print("cost", run.cost[0, 0], "->", run.cost[0, -1], "failures:", run.failures)
assert not run.failures
assert run.cost[0, -1] < 1e-12
run_plots.learning_curves(run_dataset(run))

# %% [markdown]
# Before and after. Strong edges lead from the source to the upper output and from the lower one to the
# ground, and between them runs a wall of weak edges, some at the lower bound. What learning leaves behind
# is the subject of the [next notebook](02_imprints.ipynb), and how many responses a network can learn that
# of [the fourth](04_capacity.ipynb).

# %%
trained = network.with_k(run.network.k[0])
voltages = np.asarray(jp.equilibrate(trained, boundary, values=jnp.ones(1)).x)
change = np.abs(np.asarray(trained.k) - 1)
print(f"outputs {voltages[outputs].round(6)} V; k from {trained.k.min():.2f} to {trained.k.max():.2f}")
assert np.allclose(voltages[outputs], wanted, atol=1e-5)
assert small or trained.k.min() < 0.011
run_plots.network_map(run_dataset(run))

# %% [markdown]
# More: [rules, integrators, solvers](../docs/python.md); [energies and factors of
# two](../docs/theory.md). `jaxphys verify` repeats the comparison with automatic differentiation for
# every rule, kind of network and solver.
