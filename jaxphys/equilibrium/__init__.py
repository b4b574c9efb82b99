"""Boundary conditions and the states in which a network comes to rest."""

from jaxphys.equilibrium._boundary import Boundary, check_boundary, check_precision, check_solver
from jaxphys.equilibrium._linear import Columns, State, equilibrate, greens_function, solve_columns
from jaxphys.equilibrium._status import Status, judged, state_error

__all__ = [
    "Boundary",
    "Columns",
    "State",
    "Status",
    "check_boundary",
    "check_precision",
    "check_solver",
    "equilibrate",
    "greens_function",
    "judged",
    "solve_columns",
    "state_error",
]
