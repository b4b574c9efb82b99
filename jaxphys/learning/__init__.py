"""What a network is asked to do, the rules by which it learns that, and what no network can learn."""

from jaxphys.learning.builders import allostery, classification, random_linear, regression
from jaxphys.learning.costs import AbstractCost, CosineDistance, CrossEntropy, SquaredError
from jaxphys.learning.feasibility import concerns
from jaxphys.learning.response import Response, accuracy, check_pair, respond, task_cost
from jaxphys.learning.rules import (
    AbstractRule,
    CoupledLearning,
    EquilibriumPropagation,
    Estimate,
    ExactGradient,
)
from jaxphys.learning.task import Task
from jaxphys.learning.transforms import bounds, participation, precondition, update_noise

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
    "check_pair",
    "classification",
    "concerns",
    "participation",
    "precondition",
    "random_linear",
    "regression",
    "respond",
    "task_cost",
    "update_noise",
]
