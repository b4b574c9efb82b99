"""Linear algebra of bordered systems: numbers only, no physics."""

from jaxphys.solvers.bordered import (
    AbstractConstraints,
    AbstractSolver,
    BorderedLU,
    Constraints,
    Dense,
    SparseConstraints,
    pinned,
    solve_bordered,
)
from jaxphys.solvers.sparse_cholesky import SparseCholesky
from jaxphys.solvers.sparse_lu import SparseLU
from jaxphys.solvers.star_mesh import StarMesh, strain_moment
from jaxphys.solvers.tracked_inverse import TrackedInverse

__all__ = [
    "AbstractConstraints",
    "AbstractSolver",
    "BorderedLU",
    "Constraints",
    "Dense",
    "SparseCholesky",
    "SparseConstraints",
    "SparseLU",
    "StarMesh",
    "TrackedInverse",
    "pinned",
    "solve_bordered",
    "strain_moment",
]
