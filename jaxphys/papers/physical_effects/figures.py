"""Figures of Stern et al. (2023) and appendices, one entry each."""

from jaxphys.papers.frame import Experiment
from jaxphys.papers.physical_effects import (
    curvature,
    formulas,
    intrinsic,
    limits,
    overload,
    several,
    single,
    stranger,
    tasks,
)

FIGURES = (
    Experiment(
        "physical-effects.fig2",
        "Figure 2: local rules train networks of three kinds",
        "Error of one task over its start, geometric mean over 50 networks, with bands from 10 % to 90 "
        "%. Right: springs in the plane at the printed mean degree 4, and where the text leaves room.",
        single.errors,
        single.draw_errors,
    ),
    Experiment(
        "physical-effects.fig3",
        "Figure 3: what learning does to the Hessian",
        "Upper row: eigenvalues over their start, medians over 50 networks; lower row: alignment of the "
        "modes with the input force, and of the lowest one with the response. Dotted: first-order "
        "changes of the run's own steps (eqs 21, 22, 24, 25), added up.",
        single.hessians,
        single.draw_hessians,
    ),
    Experiment(
        "physical-effects.fig4",
        "Figure 4: effective conductance and dimension",
        "Lines: from the spectrum (eqs 28 and 31), medians over 50 networks with bands from 10 % to 90 "
        "%; circles: from 500 random forces (eqs 26 and 30). Each network over its own start.",
        single.conductances,
        single.draw_conductances,
    ),
    Experiment(
        "physical-effects.fig5",
        "Figure 5: five tasks at once",
        "Left: eigenvalues after learning over those before, by rank, medians over 300 networks with "
        "bands from 10 % to 90 %. Right: how the modes line up with the five input forces and with the "
        "five responses.",
        several.several_tasks,
        several.draw_several_tasks,
    ),
    Experiment(
        "physical-effects.fig6",
        "Figure 6: more tasks than a network can learn",
        "Node networks of 10 nodes, 100 for each number of tasks: medians with bands from 10 % to 90 %. "
        "The dotted line is the capacity that the paper reads off its figure.",
        overload.overload,
        overload.draw_overload,
    ),
    Experiment(
        "physical-effects.fig7",
        "Figure 7: allostery, regression, Iris",
        "Node networks: 100 for allostery, 10 for each of the others. Upper row: training and test "
        "error (geometric means); lower row: eigenvalues over their start, medians with bands from 10 % "
        "to 90 %.",
        tasks.other_tasks,
        tasks.draw_other_tasks,
    ),
    Experiment(
        "physical-effects.fig8",
        "Figure 8: intrinsic dimension by four estimators",
        "Dimension of the cloud of responses to 500 random unit forces, before, half-way through (half "
        "of the cost gone) and after learning; medians over 20 networks, bars from 10 % to 90 %. "
        "Dashed: effective dimension from the spectrum.",
        intrinsic.intrinsic_dimensions,
        intrinsic.draw_intrinsic_dimensions,
        extras={"skdim": "dimension"},
    ),
    Experiment(
        "physical-effects.fig9",
        "Figure 9: noise, one task at a time, a tenth of the edges at a time",
        "Five tasks, 100 networks of each kind, fixed learning rates. Error (geometric mean), lowest "
        "eigenvalue with its band and highest (thin), effective dimension; each over its start.",
        several.noise,
        several.draw_noise,
    ),
    Experiment(
        "physical-effects.discovery",
        "Section III D: reading the task off a stranger's network",
        "From responses to unit forces on every node, read with errors. Left: how often the two largest "
        "entries of the lowest mode are source and target. Right: p-values of the hypothesis that the "
        "network is untrained, a dot for each network; the line is the significance asked for.",
        stranger.discovery,
        stranger.draw_discovery,
    ),
    Experiment(
        "physical-effects.capacity",
        "Appendix D: capacity, exactly",
        "In G = H⁻¹ every linear task is a linear equation, so that learnability is semidefinite "
        "feasibility. Left: the networks of figure 6, what is learnable, what Gauss-Newton steps learn, "
        "and what is certified to be impossible. Right: how many random tasks half of the sets reach, "
        "against the number of learning degrees of freedom.",
        limits.capacity,
        limits.draw_capacity,
    ),
    Experiment(
        "physical-effects.cost-hessian",
        "Appendix B: the cost Hessian",
        "Left: eigenvalues of the exact cost Hessian after learning 1, 3 and 5 tasks, medians over 50 "
        "node networks. Middle: how much of the stiffest cost mode is the pattern of the softest "
        "physical mode. Right: the two eigenvalues over trained networks.",
        curvature.cost_hessians,
        curvature.draw_cost_hessians,
    ),
    Experiment(
        "physical-effects.formulas",
        "The formulas, one by one",
        "Relative errors of the printed formulas, and of those that take their place, against finite "
        "differences, automatic differentiation and random draws; medians over ten draws.",
        formulas.formulas,
        formulas.draw_formulas,
    ),
)
