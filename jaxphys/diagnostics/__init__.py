"""Functionals of a network: the traces that learning leaves in its physics. One function per quantity.

`FUNCTIONALS` names those that `train` can record along a run.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from jaxphys.diagnostics._cost_hessian import (
    CurvatureModes,
    cost_hessian,
    cost_hessian_autodiff,
    cost_hessian_modes,
    cost_hessian_product,
    gauss_newton_factor,
    stiff_modes,
)
from jaxphys.diagnostics._sectors import Sectors, sectors
from jaxphys.diagnostics._spectrum import Spectrum, degenerate, eigenvalues, free_subspace, spectrum
from jaxphys.diagnostics._susceptibility import (
    partial_susceptibility,
    relative_conductance,
    susceptibility,
    susceptibility_cost_hessian,
    susceptibility_vectors,
)
from jaxphys.diagnostics.alignment import (
    ModeChange,
    accumulate,
    force_alignment,
    learning_direction,
    mode_change,
    predicted_eigenvalue_change,
    predicted_force_alignment_change,
    predicted_response_alignment_change,
    response_alignment,
)
from jaxphys.diagnostics.capacity import (
    CapacityCurve,
    Decision,
    Learnability,
    capacities,
    capacity_curve,
    free_dimension,
    learnability,
    task_learnability,
)
from jaxphys.diagnostics.dimension import intrinsic_dimension, response_cloud
from jaxphys.diagnostics.discovery import Discovery, discover, measure_responses
from jaxphys.diagnostics.response import (
    effective_conductance,
    effective_conductance_monte_carlo,
    effective_dimension,
    effective_dimension_monte_carlo,
    participation_ratio,
)
from jaxphys.learning.task import Task
from jaxphys.networks.physics import AbstractNetwork

FUNCTIONALS: dict[str, Callable[[AbstractNetwork, Task], Float[Array, "..."]]] = {
    "k": lambda network, task: network.k,
    "eigenvalues": lambda network, task: eigenvalues(network, task.boundary),
    "effective_conductance": lambda network, task: effective_conductance(network, task.boundary),
    "effective_dimension": lambda network, task: effective_dimension(network, task.boundary),
    "force_alignment": force_alignment,
    "response_alignment": response_alignment,
    "predicted_eigenvalue_change": predicted_eigenvalue_change,
    "predicted_force_alignment_change": predicted_force_alignment_change,
    "predicted_response_alignment_change": predicted_response_alignment_change,
    "susceptibility": lambda network, task: susceptibility(network, task.boundary),
}

__all__ = [
    "FUNCTIONALS",
    "CapacityCurve",
    "CurvatureModes",
    "Decision",
    "Discovery",
    "Learnability",
    "ModeChange",
    "Sectors",
    "Spectrum",
    "accumulate",
    "capacities",
    "capacity_curve",
    "cost_hessian",
    "cost_hessian_autodiff",
    "cost_hessian_modes",
    "cost_hessian_product",
    "degenerate",
    "discover",
    "effective_conductance",
    "effective_conductance_monte_carlo",
    "effective_dimension",
    "effective_dimension_monte_carlo",
    "eigenvalues",
    "force_alignment",
    "free_dimension",
    "free_subspace",
    "gauss_newton_factor",
    "intrinsic_dimension",
    "learnability",
    "learning_direction",
    "measure_responses",
    "mode_change",
    "partial_susceptibility",
    "participation_ratio",
    "predicted_eigenvalue_change",
    "predicted_force_alignment_change",
    "predicted_response_alignment_change",
    "relative_conductance",
    "response_alignment",
    "response_cloud",
    "sectors",
    "spectrum",
    "stiff_modes",
    "susceptibility",
    "susceptibility_cost_hessian",
    "susceptibility_vectors",
    "task_learnability",
]
