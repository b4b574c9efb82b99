"""A realization of a run, brought to rest again at its records: what its nodes and edges feel."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from jaxphys.io.runs import dataset_kind, dataset_network
from jaxphys.networks import AbstractNetwork
from jaxphys.reports.run_data import of_realization
from jaxphys.solvers import Constraints, Dense, solve_bordered

# Beyond this many operations a page would wait too long for its states.
_MOST_OPERATIONS = 2e10


class Replay(NamedTuple):
    """One realization at some of the records of its run, of which there are `F`.

    - `records`: `(F,)` numbers of the records, first and last among them. `edges`: `(M,)` which edges of the
      dataset these are: those that join two nodes, in their order, and for node networks all.
    - `k`: `(F, M)` learning degrees of freedom.
    - `x`: `(F, N d)` the free state under the first sample of the task, NaN where the network is not positive
      definite; None where the dataset does not hold the task, the class of its networks is not known, or the
      network is too large for a page.
    - `strain`: `(F, M)` what an edge feels of it (a drop from `edges[i, 0]` to `edges[i, 1]`, an extension,
      or the length of a vector); None for networks whose edges feel no strain, too.
    - `susceptibility`: `(F, M)` as in `diagnostics.susceptibility`; None where x is.
    """

    records: np.ndarray
    edges: np.ndarray
    k: np.ndarray
    x: np.ndarray | None
    strain: np.ndarray | None
    susceptibility: np.ndarray | None


def replay(dataset: xr.Dataset, realization: int, *, most: int = 41) -> Replay:
    """Solve one realization of a dataset of `jaxphys.io.run_dataset` again, at `most` of its records.

    These are all if k was recorded (`k_history`), else the first and the last one. The first half of them
    follows the first tenth of the records, where most is learned. The states are those of the network's own
    class, by the dense solver and in float64, whatever the precision of the run.
    """
    ends = of_realization(dataset, "edges", realization, rank=2)
    kind = dataset_kind(dataset)
    is_matrix = kind is not None and kind.is_matrix
    kept = np.arange(len(ends)) if is_matrix else np.flatnonzero(ends[:, 0] != ends[:, 1])
    last = dataset.sizes["record"] - 1
    if "k_history" in dataset:
        records = _chosen(last, most)
        k = np.asarray(dataset["k_history"][realization].values[records], dtype=float)
    else:
        records = np.unique([0, last])
        both = [dataset[name][realization].values for name in ("k_initial", "k")]
        k = np.asarray(both[-len(records) :], dtype=float)
    k = k[:, kept]
    n = int(dataset.attrs.get("num_nodes", 0)) * int(dataset.attrs.get("dimension", 1))
    known = {"task_force", "task_values", "task_inputs", "task_boundary"} <= set(dataset.variables)
    too_large = len(records) * n**2 * (n + len(kept)) > _MOST_OPERATIONS
    if kind is None or not known or not n or too_large:
        return Replay(records, kept, k, None, None, None)
    force, rows, held = _load(dataset, realization)
    with jax.enable_x64(True):
        network = dataset_network(dataset, realization)
        assert network is not None, "its kind is known"
        load = Constraints(rows, float), jnp.asarray(force), jnp.asarray(held)
        states = [_state(network.with_k(each), *load) for each in k]
    x, strain, susceptibility = (
        None if each[0] is None else np.array(each) for each in zip(*states, strict=True)
    )
    return Replay(records, kept, k, x, strain, susceptibility)


def _chosen(last: int, most: int) -> np.ndarray:
    """Numbers of `most` records, half of them within the first tenth."""
    if last < most:
        return np.arange(last + 1)
    early = np.linspace(0, last / 10, most // 2)
    late = np.linspace(last / 10, last, most - most // 2 + 1)
    return np.unique(np.concatenate([early, late]).round().astype(int))


def _load(dataset: xr.Dataset, realization: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forces of the first sample, rows that are held, and the values that they are held at."""
    force, values, rows = (
        np.asarray(dataset[f"task_{name}"][realization].values, dtype=float)
        for name in ("force", "values", "boundary")
    )
    inputs = dataset["task_inputs"][realization].values[0]
    held = np.zeros(len(rows))
    held[: values.shape[1]] = inputs @ values
    return inputs @ force, rows, held


@eqx.filter_jit
def _state(
    network: AbstractNetwork, constraints: Constraints, force: Float[Array, " n"], held: Float[Array, " c"]
) -> tuple[Float[Array, " n"], Float[Array, " M"] | None, Float[Array, " M"]]:
    """x, strains and susceptibilities from one factorisation; one program serves all records of a run."""
    columns = jnp.column_stack([force, jnp.eye(len(force))])
    values = jnp.zeros((len(held), columns.shape[1])).at[:, 0].set(held)
    solved = solve_bordered(Dense(), network.hessian(), constraints, columns, values).x
    x, response = solved[:, 0], solved[:, 1:]
    strain = None
    if network.kind.strain is not None:
        felt = network.strains(x)
        strain = felt[:, 0] if felt.shape[1] == 1 else jnp.linalg.norm(felt, axis=1)
    return x, strain, network.edge_norms(response)
