"""Linear algebra of bordered systems: numbers only, no physics."""

from jaxphys.solvers.bordered import AbstractSolver, BorderedLU, Constraints, Dense, solve_bordered

__all__ = ["AbstractSolver", "BorderedLU", "Constraints", "Dense", "solve_bordered"]
