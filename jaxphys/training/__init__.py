"""Learning steps: compiled, over realizations, devices and processes, with checkpoints."""

from jaxphys.training._train import AdaptiveStep, Run, member, stack, train
from jaxphys.training.devices import realization_mesh, start_processes
from jaxphys.training.gradient_flow import GradientFlow
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt
from jaxphys.training.programs import clear_caches
from jaxphys.training.solver_choice import choose_solver

__all__ = [
    "AdaptiveStep",
    "GradientFlow",
    "LevenbergMarquardt",
    "Run",
    "choose_solver",
    "clear_caches",
    "member",
    "realization_mesh",
    "stack",
    "start_processes",
    "train",
]
