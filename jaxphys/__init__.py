"""jaxphys: a differentiable simulator of physical networks that learn, and a reader of what they learned."""

from types import ModuleType

from jaxphys import diagnostics, solvers
from jaxphys._checks import InputError
from jaxphys._version import __version__ as __version__
from jaxphys.equilibrium import Boundary, State, Status, equilibrate, greens_function
from jaxphys.inspection import Findings, inspect_network, inspect_responses
from jaxphys.learning import (
    AbstractCost,
    AbstractRule,
    CosineDistance,
    CoupledLearning,
    CrossEntropy,
    EquilibriumPropagation,
    Estimate,
    ExactGradient,
    Response,
    SquaredError,
    Task,
    accuracy,
    allostery,
    bounds,
    classification,
    concerns,
    participation,
    precondition,
    random_linear,
    regression,
    respond,
    task_cost,
    update_noise,
)
from jaxphys.networks import (
    AbstractDifferenceNetwork,
    AbstractNetwork,
    AbstractStrainNetwork,
    FlowNetwork,
    NetworkKind,
    NodeNetwork,
    Packing,
    SpringNetwork,
    Topology,
    complete_graph,
    elastic_network,
    erdos_renyi,
    from_edges,
    from_networkx,
    jammed_packing,
    jammed_packings,
    read_structure,
    square_lattice,
    triangular_lattice,
)
from jaxphys.solvers import BorderedLU, Dense, SparseCholesky, SparseLU, StarMesh, TrackedInverse
from jaxphys.training import (
    AbstractIntegrator,
    AdaptiveStep,
    Checkpointing,
    Descent,
    Devices,
    GradientFlow,
    LevenbergMarquardt,
    Record,
    Run,
    Sampling,
    choose_solver,
    clear_caches,
    member,
    realization_mesh,
    stack,
    start_processes,
    train,
)

__all__ = [
    "AbstractCost",
    "AbstractDifferenceNetwork",
    "AbstractIntegrator",
    "AbstractNetwork",
    "AbstractRule",
    "AbstractStrainNetwork",
    "AdaptiveStep",
    "BorderedLU",
    "Boundary",
    "Checkpointing",
    "CosineDistance",
    "CoupledLearning",
    "CrossEntropy",
    "Dense",
    "Descent",
    "Devices",
    "EquilibriumPropagation",
    "Estimate",
    "ExactGradient",
    "Findings",
    "FlowNetwork",
    "GradientFlow",
    "InputError",
    "LevenbergMarquardt",
    "NetworkKind",
    "NodeNetwork",
    "Packing",
    "Record",
    "Response",
    "Run",
    "Sampling",
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
    "participation",
    "precondition",
    "random_linear",
    "read_structure",
    "realization_mesh",
    "regression",
    "respond",
    "solvers",
    "square_lattice",
    "stack",
    "start_processes",
    "task_cost",
    "train",
    "triangular_lattice",
    "update_noise",
]


def __getattr__(name: str) -> ModuleType:
    # `jp.io` and the like are imported when they are used: matplotlib and xarray take long.
    if name == "checks":
        import jaxphys.checks as checks

        return checks
    if name == "config":
        import jaxphys.config as config

        return config
    if name == "io":
        import jaxphys.io as io

        return io
    if name == "papers":
        import jaxphys.papers as papers

        return papers
    if name == "reports":
        import jaxphys.reports as reports

        return reports
    if name == "runs":
        import jaxphys.runs as runs

        return runs
    raise AttributeError(f"module 'jaxphys' has no attribute {name!r}")
