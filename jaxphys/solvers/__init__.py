"""Linear algebra of bordered systems: numbers only, no physics."""

from jaxphys.solvers.bordered import AbstractSolver, BorderedLU, Constraints, Dense, pinned, solve_bordered
from jaxphys.solvers.sparse_cholesky import SparseCholesky
from jaxphys.solvers.star_mesh import StarMesh, strain_moment
from jaxphys.solvers.tracked_inverse import TrackedInverse

__all__ = [
    "AbstractSolver",
    "BorderedLU",
    "Constraints",
    "Dense",
    "SparseCholesky",
    "StarMesh",
    "TrackedInverse",
    "pinned",
    "solve_bordered",
    "strain_moment",
]
