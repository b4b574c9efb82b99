"""jaxphys: a differentiable simulator of physical networks that learn, and a reader of what they learned."""

from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from jaxphys import diagnostics, solvers
from jaxphys._checks import InputError
from jaxphys.concerns import concerns
from jaxphys.equilibrium import Boundary, State, Status, equilibrate, greens_function
from jaxphys.flow import GradientFlow
from jaxphys.generators import complete_graph, erdos_renyi, square_lattice, triangular_lattice
from jaxphys.inspection import Findings, inspect_network, inspect_responses
from jaxphys.levenberg_marquardt import LevenbergMarquardt
from jaxphys.networks import (
    AbstractDifferenceNetwork,
    AbstractNetwork,
    FlowNetwork,
    NodeNetwork,
    SpringNetwork,
)
from jaxphys.packings import Packing, jammed_packing, jammed_packings
from jaxphys.parallel import realization_mesh, start_processes
from jaxphys.planning import choose_solver, sparse_cholesky, star_mesh
from jaxphys.programs import clear_caches
from jaxphys.proteins import elastic_network, read_structure
from jaxphys.rules import AbstractRule, CoupledLearning, EquilibriumPropagation, Estimate, ExactGradient
from jaxphys.solvers import BorderedLU, Dense, SparseCholesky, SparseLU, StarMesh, TrackedInverse
from jaxphys.tasks import (
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
from jaxphys.topology import Topology, from_edges, from_networkx
from jaxphys.train import AdaptiveStep, Run, member, stack, train
from jaxphys.transforms import bounds, desynchronous, precondition, update_noise

try:
    __version__ = version("jaxphys")
except PackageNotFoundError:  # Run from a source tree that was never installed.
    __version__ = "0+unknown"

__all__ = [
    "AbstractCost",
    "AbstractDifferenceNetwork",
    "AbstractNetwork",
    "AbstractRule",
    "AdaptiveStep",
    "BorderedLU",
    "Boundary",
    "CosineDistance",
    "CoupledLearning",
    "CrossEntropy",
    "Dense",
    "EquilibriumPropagation",
    "Estimate",
    "ExactGradient",
    "Findings",
    "FlowNetwork",
    "GradientFlow",
    "InputError",
    "LevenbergMarquardt",
    "NodeNetwork",
    "Packing",
    "Response",
    "Run",
    "SparseCholesky",
    "SparseLU",
    "SpringNetwork",
    "SquaredError",
    "StarMesh",
    "State",
    "Status",
    "Task",
    "Topology",
    "TrackedInverse",
    "accuracy",
    "allostery",
    "bounds",
    "choose_solver",
    "classification",
    "clear_caches",
    "complete_graph",
    "concerns",
    "desynchronous",
    "diagnostics",
    "elastic_network",
    "equilibrate",
    "erdos_renyi",
    "from_edges",
    "from_networkx",
    "greens_function",
    "inspect_network",
    "inspect_responses",
    "jammed_packing",
    "jammed_packings",
    "member",
    "precondition",
    "random_linear",
    "read_structure",
    "realization_mesh",
    "regression",
    "respond",
    "solvers",
    "sparse_cholesky",
    "square_lattice",
    "stack",
    "star_mesh",
    "start_processes",
    "task_cost",
    "train",
    "triangular_lattice",
    "update_noise",
]


def __getattr__(name: str) -> ModuleType:
    # `jp.io` and the like are imported when they are used: matplotlib and xarray take long.
    if name == "config":
        import jaxphys.config as config

        return config
    if name == "experiments":
        import jaxphys.experiments as experiments

        return experiments
    if name == "io":
        import jaxphys.io as io

        return io
    if name == "plots":
        import jaxphys.plots as plots

        return plots
    if name == "report":
        import jaxphys.report as report

        return report
    raise AttributeError(f"module 'jaxphys' has no attribute {name!r}")
