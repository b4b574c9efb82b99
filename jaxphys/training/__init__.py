"""Learning steps: compiled, over realizations, devices and processes, with checkpoints."""

from jaxphys.training._train import Run, member, own_bounds, stack, train
from jaxphys.training.arguments import Checkpointing, Devices, Record, Sampling
from jaxphys.training.descent import AdaptiveStep, Descent
from jaxphys.training.devices import realization_mesh, start_processes
from jaxphys.training.gradient_flow import GradientFlow
from jaxphys.training.integrator import AbstractIntegrator, Problem, TrainState
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt
from jaxphys.training.programs import clear_caches
from jaxphys.training.solver_choice import choose_solver

__all__ = [
    "AbstractIntegrator",
    "AdaptiveStep",
    "Checkpointing",
    "Descent",
    "Devices",
    "GradientFlow",
    "LevenbergMarquardt",
    "Problem",
    "Record",
    "Run",
    "Sampling",
    "TrainState",
    "choose_solver",
    "clear_caches",
    "member",
    "own_bounds",
    "realization_mesh",
    "stack",
    "start_processes",
    "train",
]
