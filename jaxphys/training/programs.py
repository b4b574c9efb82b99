"""Compiled programs: how many are kept, and how they are forgotten.

XLA compiles a program for every shape of networks and tasks, and for every optimizer that is made anew. JAX
keeps all of them, some 8 to 25 MiB each with what belongs to them. Those of a few trainings are worth
keeping; of hundreds of shapes nobody comes back to the first.
"""

import gc
from collections import OrderedDict
from collections.abc import Hashable

import equinox as eqx
import jax
from jaxtyping import PyTree

# Trainings of different shapes whose programs are kept.
MOST_PROGRAMS = 16
_kept: OrderedDict[Hashable, None] = OrderedDict()


def clear_caches() -> None:
    """Forget every compiled program of this process, which gives their memory back.

    Nothing else changes: what is called again is compiled again. `train` does so by itself after trainings of
    16 different shapes or optimizers.

    >>> import jaxphys as jp
    >>> jp.clear_caches()
    """
    _kept.clear()
    eqx.clear_caches()
    jax.clear_caches()
    gc.collect()


def num_kept() -> int:
    """Of how many trainings of different shapes or optimizers this process keeps compiled programs."""
    return len(_kept)


def keep_program(*arguments: PyTree) -> None:
    """Take note that a program for such arguments is about to run; forget all others if they are too many."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arrays))
    leaves, structure = jax.tree.flatten(rest)
    key = (shapes, structure, tuple(leaf if callable(leaf) else repr(leaf) for leaf in leaves))
    if key not in _kept and len(_kept) >= MOST_PROGRAMS:
        clear_caches()
    _kept[key] = None
