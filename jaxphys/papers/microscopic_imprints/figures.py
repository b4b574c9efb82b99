"""Figures of Guzman et al. (2024), our controls, and the formulas, one entry each."""

from jaxphys.papers.frame import Experiment
from jaxphys.papers.microscopic_imprints import (
    allosteric,
    conductances,
    controls,
    formulas,
    landscapes,
    soft_modes,
)

FIGURES = (
    Experiment(
        "microscopic-imprints.fig1",
        "Figure 1: a regression learned by a planar network of resistors",
        "Left: conductances of one network. Middle: voltages of the targets over that of the first "
        "input, circles, on the lines wanted. Right: voltages at inputs of 1 and 2.",
        landscapes.linear_regression,
        landscapes.draw_linear_regression,
    ),
    Experiment(
        "microscopic-imprints.fig4",
        "Figure 4: stiff modes of the cost and susceptible edges",
        "Upper row: entries of the four stiff modes in one network; the gap behind the fourth "
        "eigenvalue in ten networks as their cost falls. Lower row: eigenvalues of the cost Hessian, "
        "medians over 50 initial conditions; susceptibilities with the ground alone held, of all "
        "networks and on the map of one; entries of its stiff modes against them; how well they tell "
        "the stiffest 5 % of edges.",
        landscapes.stiff_and_susceptible,
        landscapes.draw_stiff_modes,
    ),
    Experiment(
        "microscopic-imprints.fig5",
        "Figure 5: five targets, and three classes",
        "From left to right: conductances of one network; what it answers; susceptibility; entries of "
        "the stiff modes against susceptibility; trained networks beside their untrained selves.",
        landscapes.more_tasks,
        landscapes.draw_more_tasks,
    ),
    Experiment(
        "microscopic-imprints.fig6",
        "Figure 6: sectors of the response, and susceptible edges",
        "One volt between two nodes, half a volt wanted at three edges. Bars across edges: where "
        "sectors of persistence 0.05 meet. Right: the persistence diagram of the drops; above the "
        "dotted line is what counts as a sector.",
        allosteric.topological_sectors,
        allosteric.draw_topological_sectors,
    ),
    Experiment(
        "microscopic-imprints.fig7",
        "Figure 7: susceptibility from the softest modes alone",
        "Means over 50 initial conditions, modes of the grounded Hessian; bars: standard deviations.",
        soft_modes.partial_sums,
        soft_modes.draw_partial_sums,
    ),
    Experiment(
        "microscopic-imprints.fig8",
        "Figure 8: one task from four distributions of conductances",
        "One network of ten in each row: conductances; their distribution before and after; conductance "
        "and relative conductance against susceptibility.",
        conductances.initial_conditions,
        conductances.draw_initial_conditions,
    ),
    Experiment(
        "microscopic-imprints.fig9",
        "Figure 9: walls and corridors",
        "Upper row: voltages, and the most susceptible edges as bars across them. Lower row: currents.",
        conductances.blockers,
        conductances.draw_blockers,
    ),
    Experiment(
        "microscopic-imprints.fig10",
        "Figure 10: conductances and susceptibilities of the other tasks",
        "As figure 8, for the networks of figures 5 and 6.",
        conductances.remaining_tasks,
        conductances.draw_remaining_tasks,
    ),
    Experiment(
        "microscopic-imprints.fig11",
        "Figure 11: weaker training",
        "As figure 6, for wanted drops of 0.5, 0.3 and 0.1 at the same three edges.",
        allosteric.weak_sectors,
        allosteric.draw_weak_sectors,
    ),
    Experiment(
        "microscopic-imprints.fig12",
        "Figure 12: weak signals at one edge",
        "Susceptibility, the stiff mode, and one against the other, for wanted drops from a thousandth "
        "of the input to all of it.",
        allosteric.weak_signals,
        allosteric.draw_weak_signals,
    ),
    Experiment(
        "microscopic-imprints.nulls",
        "Controls: twenty graphs, untrained networks, chance",
        "A line for each of twenty packings, each with its own terminals; grey band: 95 % of random "
        "permutations.",
        controls.null_models,
        controls.draw_null_models,
    ),
    Experiment(
        "microscopic-imprints.rates",
        "Controls: the imprint against the learning rate",
        "The regression of figure 1 from the same ten initial conditions; learning rests at a cost of 1e-8.",
        controls.learning_rates,
        controls.draw_learning_rates,
    ),
    Experiment(
        "microscopic-imprints.formulas",
        "The formulas, one by one, and other networks",
        "Left: relative errors on trained networks at zero cost. Right: the imprint in node networks "
        "and springs of Stern et al. (2023).",
        formulas.formulas,
        formulas.draw_formulas,
    ),
)
