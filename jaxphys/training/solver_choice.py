"""Which solver for which task, and one for every block of an ensemble."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import InputError, require
from jaxphys.learning import Task, check_pair
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import (
    AbstractSolver,
    Dense,
    SparseCholesky,
    StarMesh,
    TrackedInverse,
    holds_nodes,
)
from jaxphys.solvers.elimination import Room
from jaxphys.solvers.star_mesh import MeshDraft, MeshRoom, draft_mesh
from jaxphys.training.devices import global_max

_Pair = tuple[AbstractNetwork, Task]
"""A network and its task, or stacked ensembles of both."""

MeshArguments = tuple[Int[Array, "*R M 2"], Float[Array, "*R c n"], Bool[np.ndarray, "*R n"]]
"""What `StarMesh` plans from: edges, rows, terminals."""


def choose_solver(
    network: AbstractNetwork, task: Task, optimizer: optax.GradientTransformation | None = None
) -> AbstractSolver:
    """The solver that `train` takes for an ensemble if it is handed none.

    - `TrackedInverse` for node networks with at most n/4 inputs and outputs whose `optimizer` multiplies the
      gradient in the Frobenius metric and does no more (it is tried on two made-up gradients).
    - `StarMesh`, planned for the task's terminals, for flow networks whose boundary holds nodes or lets them
      float, once there is work enough to be worth its plan and longer compilation (a rule of thumb: `R n³`
      from a million, so 16 realizations of 40 nodes or one of 100), unless elimination fills a large graph
      nearly up: more than a million products, and a tenth of those of a full matrix.
    - `SparseCholesky` for spring networks under the same boundaries, where fewer than a quarter of all pairs
      of nodes are joined, from `R n³` of ten million on: 20 networks of 40 nodes in the plane, or one of 110.
    - `Dense` for all else.

    `network` and `task` are one of each or stacked ensembles, outside of `jit`.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.erdos_renyi(100, 200, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> type(jp.choose_solver(network, task)).__name__
    'StarMesh'
    """
    check_pair(network, task, ensembles=True)
    realizations = 1 if network.k.ndim == 1 else network.k.shape[0]
    if network.kind.is_matrix:
        terminals = task.force.shape[-2] + task.readout.shape[-2]
        few = 4 * terminals <= network.num_coordinates and holds_nodes(task.boundary.rows)
        return TrackedInverse() if few and _scales_gradients(optimizer, network) else Dense()
    work = realizations * network.num_coordinates**3
    try:
        if network.kind.is_laplacian:
            return _worthwhile_mesh(network, task) if work >= _WORTH_A_PLAN else Dense()
        is_sparse = 8 * network.num_edges < network.num_nodes**2
        if network.kind.is_pairwise and is_sparse and work >= 10 * _WORTH_A_PLAN:
            return SparseCholesky.for_task(network, task)
    except InputError:
        pass
    return Dense()


_WORTH_A_PLAN = 1e6


def _worthwhile_mesh(network: AbstractNetwork, task: Task) -> StarMesh:
    """`StarMesh.for_task`; raises `InputError` where dense algebra costs less than its plan."""
    given = StarMesh.plan_arguments(network, task)
    # Of n³/6 that eliminating all nodes takes where each is joined to each.
    most = max(int(_WORTH_A_PLAN), network.num_coordinates**3 // 60)
    return StarMesh(*given, draft=draft_mesh(*given, most_each=most))


def _scales_gradients(optimizer: optax.GradientTransformation | None, network: AbstractNetwork) -> bool:
    """Whether an optimizer multiplies the gradient in the Frobenius metric, and remembers nothing of it."""
    metric = network.descent_metric
    if optimizer is None or metric is None:
        return False
    k = network.k if network.k.ndim == 1 else network.k[0]
    gradients = np.sin(np.outer([1.0, 2.0], 1.0 + np.arange(len(k)))).astype(k.dtype)
    with jax.numpy_dtype_promotion("standard"):  # Optimizers are free to mix precisions.
        updates = _updates(optimizer, k, jnp.asarray(gradients))
    for gradient, found in zip(metric * gradients, updates, strict=True):
        changes = np.asarray(found, dtype=float)
        multiple = changes @ gradient / (gradient @ gradient)
        if not np.allclose(changes, multiple * gradient, rtol=1e-5, atol=0):
            return False
    return True


@partial(jax.jit, static_argnums=0)
def _updates(optimizer: optax.GradientTransformation, k: Array, gradients: Array) -> list[Array]:
    transform = optax.with_extra_args_support(optimizer)
    state, found = transform.init(k), []
    for gradient in gradients:
        changes, state = transform.update(gradient, state, k, key=jax.random.key(0))
        found.append(changes)
    return found


class BlockSolvers:
    """A solver for every block of an ensemble, all of one shape, so that they run in one compiled program.

    **Arguments**

    - `choice`: a solver that serves every block, or the one for a block's network and task; what it says of
      the first block decides for all.
    - `alone`: whether the ensemble is one block.

    A solver that is planned for graphs side by side serves one block. `StarMesh` is planned for each block
    anew, in a room that grows when it must; for `SparseCholesky` on graphs of their own there is no such
    room, and `Dense` takes its place unless the block is alone.
    """

    def __init__(
        self,
        choice: AbstractSolver | Callable[[AbstractNetwork, Task], AbstractSolver],
        *,
        alone: bool,
    ):
        self.same: AbstractSolver | None = None
        self.by_blocks: type[AbstractSolver] | None = None
        self.needed: MeshRoom | None = None
        self.room: MeshRoom | None = None
        self.growth = 0
        self.all_foreseen = False
        self.meshed: tuple[MeshArguments, StarMesh] | None = None
        self.alone = alone
        if isinstance(choice, AbstractSolver):
            require(
                alone or choice.is_shared,
                "solver",
                "serve any block of realizations",
                "it was planned for an ensemble; hand in none and one is planned for each block",
            )
            self.same = choice
        else:
            self.choose = choice

    def __call__(self, blocks: Sequence[_Pair]) -> list[AbstractSolver]:
        """Solvers of the blocks that this process works on now; all processes ask together.

        Raises `InputError` where a `TrackedInverse` cannot follow a block.
        """
        self._settle(blocks[0])
        if self.by_blocks is not None:
            planned = self.by_blocks
            return self._meshes(blocks) if planned.has_room else [planned.for_task(*each) for each in blocks]
        assert self.same is not None
        for block in blocks:
            self.same.check(*block)
        return [self.same] * len(blocks)

    def foresee(self, blocks: Iterable[_Pair], *, all_of_them: bool) -> None:
        """Look at blocks to come, if there is something to plan for them; all processes do so together.

        Plans that are made to measure are faster than those with room to spare, which take their place where
        these are not `all_of_them`.
        """
        arguments = []
        for block in blocks:
            self._settle(block)
            if self.by_blocks is None or not self.by_blocks.has_room:
                return
            arguments.append(StarMesh.plan_arguments(*block))
        if arguments:
            self._drafts(arguments)
        self.all_foreseen = all_of_them

    @property
    def kind(self) -> str:
        """The name of the solver, once there is one; else nothing."""
        kind = self.by_blocks or (None if self.same is None else type(self.same))
        return "" if kind is None else kind.__name__

    def _settle(self, block: _Pair) -> None:
        if self.same is not None or self.by_blocks is not None:
            return
        chosen = self.choose(*block)
        if self.alone or not chosen.is_planned:
            self.same = chosen
        elif chosen.is_shared or chosen.has_room:
            self.by_blocks = type(chosen)
        else:
            self.same = Dense()

    def _meshes(self, blocks: Sequence[_Pair]) -> list[AbstractSolver]:
        arguments = [StarMesh.plan_arguments(*block) for block in blocks]
        if not global_max([any(not self._is_meshed(given) for given in arguments)])[0]:
            assert self.meshed is not None
            return [self.meshed[1]] * len(blocks)
        drafts = self._drafts(arguments)
        needed = self.needed
        assert needed is not None
        if self.room is None or (room_sizes(needed) > room_sizes(self.room)).any():
            # Blocks to come differ: with room to spare, and more each time, few of them compile anew.
            if needed.side_by_side and not self.all_foreseen:
                needed = needed._replace(elimination=needed.elimination.with_spare(self.growth))
                self.growth += 1
            self.room = needed
        meshes = [
            StarMesh(*given, room=self.room, draft=draft)
            for draft, given in zip(drafts, arguments, strict=True)
        ]
        self.meshed = arguments[-1], meshes[-1]
        return list(meshes)

    def _drafts(self, arguments: Sequence[MeshArguments]) -> list[MeshDraft]:
        """Drafts of plans, for which all processes know how much room they need, with all before them."""
        drafts = [draft_mesh(*given) for given in arguments]
        needed = reduce(MeshRoom.joined, (draft.room for draft in drafts))
        needed = _agreed(needed if self.needed is None else needed.joined(self.needed))
        if needed.side_by_side:
            drafts = [
                draft_mesh(*given, side_by_side=True) if len(draft.edges) == 1 else draft
                for draft, given in zip(drafts, arguments, strict=True)
            ]
            needed = _agreed(reduce(MeshRoom.joined, (draft.room for draft in drafts), needed))
        self.needed = needed
        return drafts

    def _is_meshed(self, arguments: MeshArguments) -> bool:
        """Whether the last plan serves these, too: blocks on one graph have it in common."""
        return self.meshed is not None and all(
            np.array_equal(np.asarray(new), np.asarray(old))
            for new, old in zip(arguments, self.meshed[0], strict=True)
        )


_MOST_LEVELS = 500


def room_sizes(room: MeshRoom) -> np.ndarray:
    """The sizes of a room as a vector, of one length for all rooms.

    A room of the element-wise maxima of two such vectors has room for both.
    """
    levels = [
        np.pad(part, ((0, _MOST_LEVELS - len(part)), (0, 0))).ravel()
        for part in (room.elimination.quiet, room.elimination.late)
    ]
    # No number stands for any number of terminals.
    terminals = np.iinfo(np.int32).max if room.terminals is None else room.terminals
    return np.concatenate([[room.elimination.pairs, room.parallel, terminals, room.side_by_side], *levels])


def _agreed(room: MeshRoom) -> MeshRoom:
    """Room enough on all processes."""
    pairs, parallel, terminals, side_by_side, *levels = global_max(room_sizes(room)).astype(int).tolist()
    quiet, late = (part[part.any(axis=1)] for part in np.array(levels).reshape(2, _MOST_LEVELS, 4))
    few = None if terminals == np.iinfo(np.int32).max else terminals
    return MeshRoom(Room(pairs, quiet, late), parallel, few, bool(side_by_side))
