"""What a network is asked to do, the rules by which it learns that, and what no network can learn."""

from jaxphys.learning.feasibility import concerns
from jaxphys.learning.rules import (
    AbstractRule,
    CoupledLearning,
    EquilibriumPropagation,
    Estimate,
    ExactGradient,
)
from jaxphys.learning.tasks import (
    AbstractCost,
    CosineDistance,
    CrossEntropy,
    Response,
    SquaredError,
    Task,
    accuracy,
    allostery,
    classification,
    random_linear,
    regression,
    respond,
    task_cost,
)
from jaxphys.learning.transforms import bounds, desynchronous, precondition, update_noise

__all__ = [
    "AbstractCost",
    "AbstractRule",
    "CosineDistance",
    "CoupledLearning",
    "CrossEntropy",
    "EquilibriumPropagation",
    "Estimate",
    "ExactGradient",
    "Response",
    "SquaredError",
    "Task",
    "accuracy",
    "allostery",
    "bounds",
    "classification",
    "concerns",
    "desynchronous",
    "precondition",
    "random_linear",
    "regression",
    "respond",
    "task_cost",
    "update_noise",
]
