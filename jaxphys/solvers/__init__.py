"""Linear algebra of bordered systems: numbers only, no physics."""

from jaxphys.solvers.bordered import AbstractSolver, BorderedLU, Dense, solve_bordered

__all__ = ["AbstractSolver", "BorderedLU", "Dense", "solve_bordered"]
