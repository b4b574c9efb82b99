"""Linear algebra of bordered systems: numbers only, no physics."""

from jaxphys.solvers.bordered import (
    AbstractSolver,
    AnyConstraints,
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
    "AbstractSolver",
    "AnyConstraints",
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
