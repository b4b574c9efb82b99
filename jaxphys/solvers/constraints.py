"""What is held, as numbers: the rows of `C x = d`, and what depends on them alone."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxphys._checks import check_dense


class Constraints(eqx.Module):
    """The rows of `C x = d` and what follows from them, planned once on the host.

    **Attributes**

    - `rows`: C, `(c, n)`, of full rank.
    - `basis`: orthonormal columns Z that span `{x : C x = 0}`, `(n, n - c)`.
    - `lift`: the pseudo-inverse C⁺, `(n, c)`.

    Where every row reads a single coordinate, Z is a selection of coordinates, which keeps the structure of
    H.

    **Arguments**

    - `rows`: `(c, n)` in NumPy, of full rank (not checked).
    - `dtype`: the precision of all three arrays; they are computed in that of `rows`.
    """

    is_sparse: ClassVar[bool] = False

    rows: Float[Array, "c n"]
    basis: Float[Array, "n m"]
    lift: Float[Array, "n c"]

    def __init__(self, rows: np.ndarray, dtype: np.dtype | type):
        count, size = rows.shape
        selected = np.flatnonzero(np.any(rows != 0, axis=0))
        if len(selected) == count:
            basis = np.delete(np.eye(size), selected, axis=1)
        else:
            basis = np.linalg.qr(rows.T, mode="complete")[0][:, count:]
        self.rows = jnp.asarray(rows, dtype)
        self.basis = jnp.asarray(basis, dtype)
        self.lift = jnp.asarray(np.linalg.pinv(rows), dtype)

    @property
    def num_rows(self) -> int:
        """c."""
        return self.rows.shape[-2]

    @property
    def rows_like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the rows."""
        return jax.ShapeDtypeStruct(self.rows.shape, self.rows.dtype)

    def row_entries(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each row, the coordinates that it reads and its entries there. Runs on the host."""
        return row_entries(np.asarray(self.rows))

    @property
    def holds_nodes(self) -> bool:
        """Whether every row but those of motions reads a single coordinate. Runs on the host."""
        places, _, _, count = self.sparse_parts()
        return len(places) == count

    def sparse_parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """`places`, `entries`, `motions` and `num_chosen` as in `SparseConstraints`. Runs on the host.

        Rows are told apart by their entries: those that read one coordinate, or two by a unit vector each,
        come first.
        """
        rows = np.asarray(self.rows, float)
        # Rows of drops read two unit vectors; motions are unit vectors themselves.
        is_drop = np.abs((rows**2).sum(axis=1) - 2) < 1e-9
        count = int((is_drop | ((rows != 0).sum(axis=1) == 1)).sum())
        chosen = rows[:count]
        places = np.argwhere(chosen != 0)
        return places, chosen[tuple(places.T)], rows[count:], count


class SparseConstraints(eqx.Module):
    """The rows of `C x = d` by their entries, for large networks.

    **Attributes**

    - `places`: `(e, 2)` row and coordinate of every entry of the rows that read few coordinates.
    - `entries`: `(e,)` these entries.
    - `motions`: `(z, n)` the rows after them, which read all coordinates: orthonormal, and orthogonal to the
      others.
    - `num_chosen`: how many rows there are before the motions.

    `rows`, `basis` and `lift`, as in `Constraints`, are computed whenever they are read. They raise
    `InputError` beyond the size that `check_dense` allows.
    """

    is_sparse: ClassVar[bool] = True

    places: Int[Array, "*R e 2"]
    entries: Float[Array, "*R e"]
    motions: Float[Array, "*R z n"]
    num_chosen: int = eqx.field(static=True)

    @property
    def num_rows(self) -> int:
        """c."""
        return self.num_chosen + self.motions.shape[-2]

    @property
    def rows_like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the rows."""
        shape = (*self.entries.shape[:-1], self.num_rows, self.motions.shape[-1])
        return jax.ShapeDtypeStruct(shape, self.entries.dtype)

    def row_entries(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each row, the coordinates that it reads and its entries there. Runs on the host."""
        places, entries = np.asarray(self.places), np.asarray(self.entries)
        # Entries stand in the order of their rows.
        cuts = np.searchsorted(places[:, 0], np.arange(1, self.num_chosen))
        chosen = zip(np.split(places[:, 1], cuts), np.split(entries, cuts), strict=True)
        all_of_them = np.arange(self.motions.shape[-1])
        motions = [(all_of_them, row) for row in np.asarray(self.motions)]
        return [*(chosen if self.num_chosen else ()), *motions]

    def sparse_parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """`places`, `entries`, `motions` and `num_chosen`. Runs on the host."""
        places, entries, motions = (np.asarray(each) for each in (self.places, self.entries, self.motions))
        return places, entries.astype(float), motions.astype(float), self.num_chosen

    @property
    def holds_nodes(self) -> bool:
        """Whether every row but those of motions reads a single coordinate."""
        return self.places.shape[-2] == self.num_chosen

    @property
    def rows(self) -> Float[Array, "*R c n"]:
        if self.entries.ndim > 1:
            return jax.vmap(lambda one: one.rows)(self)
        size = self.motions.shape[-1]
        check_dense(self.num_rows, size)
        chosen = jnp.zeros((self.num_chosen, size), self.entries.dtype)
        chosen = chosen.at[self.places[:, 0], self.places[:, 1]].set(self.entries)
        return jnp.concatenate([chosen, self.motions])

    @property
    def lift(self) -> Float[Array, "n c"]:
        rows = self.rows
        return jnp.linalg.solve(rows @ rows.T, rows).T

    @property
    def basis(self) -> Float[Array, "n m"]:
        check_dense(self.motions.shape[-1], self.motions.shape[-1])
        return jnp.linalg.qr(self.rows.T, mode="complete")[0][:, self.num_rows :]


AnyConstraints = Constraints | SparseConstraints
"""Rows of a boundary: dense, or by their entries."""


def row_entries(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each row of a matrix, where it is not zero and what it is there."""
    places = [np.flatnonzero(row) for row in rows]
    return [(where, row[where]) for where, row in zip(places, rows, strict=True)]


def holds_nodes(rows: Float[Array, "*R c n"]) -> bool:
    """Whether every row of a boundary, or of stacked ones, reads a single coordinate. Runs on the host."""
    return bool((np.count_nonzero(np.asarray(rows), axis=-1) == 1).all())
