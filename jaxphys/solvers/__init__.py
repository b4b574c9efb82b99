"""Linear algebra of bordered systems: numbers only, no physics."""

from jaxphys.solvers.batching import AbstractPlannedSolver
from jaxphys.solvers.bordered import AbstractSolver, Bonds, Reply, Solution, solve_bordered
from jaxphys.solvers.constraints import (
    AnyConstraints,
    Constraints,
    SparseConstraints,
    holds_nodes,
    row_entries,
)
from jaxphys.solvers.dense import BorderedLU, Dense
from jaxphys.solvers.sparse_cholesky import SparseCholesky
from jaxphys.solvers.sparse_lu import SparseLU
from jaxphys.solvers.star_mesh import StarMesh, strain_moment
from jaxphys.solvers.tracked_inverse import TrackedInverse

__all__ = [
    "AbstractPlannedSolver",
    "AbstractSolver",
    "AnyConstraints",
    "Bonds",
    "BorderedLU",
    "Constraints",
    "Dense",
    "Reply",
    "Solution",
    "SparseCholesky",
    "SparseConstraints",
    "SparseLU",
    "StarMesh",
    "TrackedInverse",
    "holds_nodes",
    "row_entries",
    "solve_bordered",
    "strain_moment",
]
