"""What is held: boundary conditions of a network."""

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from jaxphys._checks import InputError, check_kind, require
from jaxphys.equilibrium._rows import check_free_modes, chosen_rows, free_motions
from jaxphys.networks.physics import AbstractNetwork, Node, check_single
from jaxphys.solvers import AbstractSolver, AnyConstraints


class Boundary(eqx.Module):
    """What is held: rows of `C x = d`, beside which the network minimises its energy.

    Held nodes (Dirichlet), held differences between two nodes, grounds and projected free
    modes are all rows of C; forces or currents (Neumann) need none. Only the first
    `num_held` rows, those of `held_nodes` and then `held_drops`, have values that a caller
    chooses; the rest are held at zero.

    **Arguments**

    - `network`: the network that is held (only its graph and geometry matter).
    - `held_nodes`: nodes whose coordinates are all held (d rows each).
    - `held_drops`: pairs of nodes whose difference is held: a voltage drop, or for springs the
      extension along the line between them.
    - `ground`: nodes held at zero. Nodes are given by number, or by name where the network's have names.
    - `free_modes`: what to do about motions that cost nothing and that no row holds (a floating
      flow network, rigid motions): `"forbid"` refuses them; `"project"` keeps the state
      orthogonal to them and balances forces along them evenly (the pseudo-inverse).

    Raises `InputError` on nodes that do not exist, rows that repeat one another, a component of
    the graph that nothing holds, or a spring network with floppy modes.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> jp.Boundary(network, held_nodes=[0], ground=[2]).rows.tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    constraints: AnyConstraints
    num_held: int = eqx.field(static=True)

    def __init__(
        self,
        network: AbstractNetwork,
        *,
        held_nodes: Sequence[Node] | np.ndarray = (),
        held_drops: Sequence[tuple[Node, Node]] | np.ndarray = (),
        ground: Sequence[Node] | np.ndarray = (),
        free_modes: Literal["forbid", "project"] = "forbid",
    ):
        check_single(network)
        require(
            free_modes in ("forbid", "project"),
            "free_modes",
            'be "forbid" or "project"',
            f"it is {free_modes!r}",
        )
        held_nodes = network.node_numbers(held_nodes, "held_nodes").reshape(-1)
        ground = network.node_numbers(ground, "ground").reshape(-1)
        pairs = network.node_numbers(held_drops, "held_drops")
        require(
            pairs.size == 0 or pairs.shape[-1] == 2,
            "held_drops",
            "hold pairs of nodes",
            f"it has shape {pairs.shape}",
        )
        pairs = pairs.reshape(-1, 2)
        for source, target in pairs[pairs[:, 0] == pairs[:, 1]][:1].tolist():
            joined = f"one joins {network.node_names[source]} to itself"
            require(source != target, "held_drops", "join different nodes", joined)
        chosen = chosen_rows(network, held_nodes, pairs, ground)
        if chosen.repeat:
            raise InputError(
                "Arguments `held_nodes`, `held_drops` and `ground` must hold each coordinate once, "
                "but one of their conditions repeats or follows from the others."
            )
        free, floating = free_motions(network, chosen, pairs, np.concatenate([held_nodes, ground]))
        check_free_modes(network, chosen, free, floating, free_modes)
        self.constraints = chosen.with_motions(free, network.k.dtype)
        self.num_held = network.dimension * len(held_nodes) + len(pairs)

    @property
    def num_rows(self) -> int:
        """c: rows of C."""
        return self.constraints.num_rows

    def row_entries(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every row of C the coordinates that it reads, and its entries there. Runs on the host."""
        return self.constraints.row_entries()

    @property
    def rows(self) -> Float[Array, "*R c n"]:
        """C: held nodes, held drops, grounds, projected free modes."""
        return self.constraints.rows


def check_boundary(
    network: AbstractNetwork, boundary: Boundary, solver: AbstractSolver | None = None
) -> None:
    """Raise `InputError` unless this is one network, and a boundary of its size and precision.

    And, if there is one, unless `solver` is a solver.
    """
    check_single(network)
    check_kind("boundary", boundary, Boundary, "a `Boundary`")
    check_solver(solver)
    rows = boundary.constraints.rows_like
    require(
        rows.ndim == 2, "boundary", "be that of one network", "it is stacked; use `jax.vmap` or `jp.member`"
    )
    n = network.num_coordinates
    require(
        rows.shape[1] == n,
        "boundary",
        f"be made for this network of {n} coordinates",
        f"it was made for one of {rows.shape[1]}",
    )
    check_precision("boundary", network, rows)


def check_solver(solver: AbstractSolver | None) -> None:
    """Raise `InputError` unless this is a solver or None."""
    if solver is not None:
        check_kind("solver", solver, AbstractSolver, "a solver, as `Dense()`")


def check_precision(argument: str, network: AbstractNetwork, array: Array | jax.ShapeDtypeStruct) -> None:
    """Raise `InputError` unless an array is as precise as the network: both float64, or both float32.

    The sentence names `argument`.
    """
    require(
        array.dtype == network.k.dtype,
        argument,
        f"have the precision of the network, {network.k.dtype}",
        f"it has {array.dtype}; make both after `jax_enable_x64` is set, and give `k` in that precision",
    )
