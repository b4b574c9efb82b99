"""A realization of a run, brought to rest again at its records: what its nodes and edges feel."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxphys.io.runs import dataset_network
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.reports.run_data import kind_of, of_realization

# Beyond this many operations a page would wait too long for its states.
_MOST_OPERATIONS = 2e10


class Replay(NamedTuple):
    """One realization at some of the records of its run, of which there are `F`.

    - `records`: `(F,)` numbers of the records, first and last among them. `edges`: `(M,)` which edges of the
      dataset these are: those that join two nodes, in their order.
    - `k`: `(F, M)` learning degrees of freedom.
    - `x`: `(F, N d)` the free state under the first sample of the task; None where the dataset does not hold
      the task, or the network is too large for a page.
    - `strain`: `(F, M)` what an edge feels of it (a drop from `edges[i, 0]` to `edges[i, 1]`, an extension,
      or the length of a vector); None where edges feel none, too.
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
    follows the first tenth of the records, where most is learned. One small network at a time: dense, on the
    host, solved in float64.
    """
    ends = of_realization(dataset, "edges", realization, rank=2)
    kind = kind_of(dataset)
    kept = np.arange(len(ends)) if kind.is_matrix else np.flatnonzero(ends[:, 0] != ends[:, 1])
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
    if not known or not n or len(records) * n**2 * (n + len(kept)) > _MOST_OPERATIONS:
        return Replay(records, kept, k, None, None, None)
    network = dataset_network(dataset, realization)
    if network is None:
        return Replay(records, kept, k, None, None, None)
    load = _load(dataset, realization)
    states = [_at_rest(network.with_k(jnp.asarray(one)), *load) for one in k]
    x, strain, susceptibility = (np.array(each) for each in zip(*states, strict=True))
    return Replay(records, kept, k, x, None if kind.strain is None else strain, susceptibility)


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


def _at_rest(
    network: AbstractNetwork, force: np.ndarray, rows: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, strains (zero where edges feel none) and susceptibilities of a network under rows that are held.

    A dataset holds rows, and not the `Boundary` that they came from: NumPy solves the bordered system, with
    the physics of the network itself.
    """
    n = len(force)
    bordered = np.block([[np.asarray(network.hessian()), rows.T], [rows, np.zeros((len(rows),) * 2)]])
    columns = np.column_stack([np.concatenate([force, held]), np.eye(n + len(rows), n)])
    try:
        solved = np.linalg.solve(bordered, columns)[:n]
    except np.linalg.LinAlgError:
        solved = np.full((n, n + 1), np.nan)
    x, response = solved[:, 0], solved[:, 1:]
    susceptibility = np.asarray(network.edge_norms(jnp.asarray(response.T)))
    if network.kind.strain is None:
        return x, np.zeros(network.num_edges), susceptibility
    strain = np.asarray(network.strains(jnp.asarray(x)))
    length = strain[:, 0] if strain.shape[1] == 1 else np.linalg.norm(strain, axis=1)
    return x, length, susceptibility
