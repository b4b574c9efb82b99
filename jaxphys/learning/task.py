"""What a network is asked to do: inputs, readout, targets, cost."""

from collections.abc import Sequence, Sized
from types import ModuleType
from typing import Literal, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import check_kind, described, refuse, require, to_array
from jaxphys.equilibrium import Boundary
from jaxphys.learning.costs import AbstractCost, SquaredError

_Matrix = TypeVar("_Matrix", np.ndarray, Array)
# Overlaps and couplings of what is left of the outputs, and which are chosen.
_Elimination: TypeAlias = tuple[Array, Array, Array]


class Task(eqx.Module):
    """Inputs, readout, targets and cost for one network.

    With s terminals, R samples and o outputs, sample r applies the forces
    `Σ_s inputs[r, s] force[s]` and the held values `Σ_s inputs[r, s] values[s]`, and its
    outputs are `y_r = readout x_r`. The cost is the sum or mean over r of
    `cost(y_r, targets[r], weights[r])`.

    **Attributes**

    - `boundary`: what is held; `force` `(s, n)` and `values` `(s, h)`: one unit of each terminal.
    - `inputs`: `(R, s)`. `readout`: `(o, n)`. `targets`: `(R, o)`.
    - `weights`: `(R, o)`, or None for all ones. Zero: this output does not belong to this sample.
    - `cost`: what one sample costs, `SquaredError()` by default.
    - `reduction`: `"sum"` (gradients of `Σ_r C_r`, as the rules of Stern et al. (2023)) or `"mean"` (as the
      costs there).
    - `dependent`: whether outputs follow from one another whatever the network (the three drops around a
      triangle, or a node read twice). Found from the readout and what is held.

    Raises `InputError` on an empty task, shapes that do not fit, values that are not finite, an
    output that is also held, or a cost that is not one number for each sample.
    """

    boundary: Boundary
    force: Float[Array, "s n"]
    values: Float[Array, "s h"]
    inputs: Float[Array, "R s"]
    readout: Float[Array, "o n"]
    targets: Float[Array, "R o"]
    weights: Float[Array, "R o"] | None
    cost: AbstractCost
    reduction: Literal["sum", "mean"] = eqx.field(static=True)
    dependent: bool = eqx.field(static=True)

    def __init__(
        self,
        boundary: Boundary,
        *,
        readout: object,
        targets: object,
        inputs: object = None,
        force: object = None,
        values: object = None,
        weights: object = None,
        cost: AbstractCost | None = None,
        reduction: Literal["sum", "mean"] = "sum",
    ):
        check_kind("boundary", boundary, Boundary, "a `Boundary`")
        if cost is not None:
            check_kind("cost", cost, AbstractCost, "a cost, as `SquaredError()`")
        dtype = boundary.rows.dtype
        n = boundary.rows.shape[-1]
        require(force is not None or values is not None, "force", "be given, or `values`", "neither is")
        if force is None:
            force = np.zeros((_length(values), n))
        if values is None:
            values = np.zeros((_length(force), boundary.num_held))
        given = {"force": force, "values": values, "readout": readout, "targets": targets}
        given["inputs"] = np.eye(_length(force)) if inputs is None else inputs
        arrays = {name: to_array(name, given, dtype) for name, given in given.items()}
        if weights is not None:
            arrays["weights"] = to_array("weights", weights, dtype)
        _check_task(arrays, n, boundary)
        if cost is not None:
            _check_cost(cost, jax.ShapeDtypeStruct(arrays["targets"].shape[-1:], dtype))
        require(reduction in ("sum", "mean"), "reduction", 'be "sum" or "mean"', f"it is {reduction!r}")
        self.boundary = boundary
        self.force = jnp.asarray(arrays["force"])
        self.values = jnp.asarray(arrays["values"])
        self.inputs = jnp.asarray(arrays["inputs"])
        self.readout = jnp.asarray(arrays["readout"])
        self.targets = jnp.asarray(arrays["targets"])
        self.weights = None if weights is None else jnp.asarray(arrays["weights"])
        self.cost = SquaredError() if cost is None else cost
        self.reduction = reduction
        self.dependent = _are_dependent(self.readout, boundary)

    @classmethod
    def alike(cls, tasks: Sequence["Task"]) -> list["Task"]:
        """The same tasks, all `dependent` if one is: what `stack` needs."""
        if len({task.dependent for task in tasks}) == 1:
            return list(tasks)
        copies = [jax.tree.map(lambda leaf: leaf, task) for task in tasks]
        for copy in copies:
            object.__setattr__(copy, "dependent", True)
        return copies

    @property
    def num_samples(self) -> int:
        """R."""
        return self.inputs.shape[-2]

    def with_samples(
        self,
        inputs: Float[Array, "*E R s"],
        targets: Float[Array, "*E R o"],
        weights: Float[Array, "*E R o"] | None = None,
    ) -> "Task":
        """The same terminals, readout and cost on other samples (a test set, a minibatch), stacked or not."""
        return eqx.tree_at(
            lambda task: (task.inputs, task.targets, task.weights),
            self,
            (inputs, targets, weights),
            is_leaf=lambda leaf: leaf is None,
        )

    def batch(self, indices: Int[Array, " b"]) -> "Task":
        """The task on a subset of its samples."""
        weights = None if self.weights is None else self.weights[indices]
        return self.with_samples(self.inputs[indices], self.targets[indices], weights)

    def condensed(self) -> "Task":
        """The same sums over samples from at most `s + o` of them, where the cost is quadratic; else itself.

        Costs and updates are then quadratic in inputs and targets and know samples by their second moments
        alone, which a QR factorisation keeps, `[U T] = Q R`: the rows of R take the samples' place, exactly.
        For `SquaredError` without weights.
        """
        samples = jnp.concatenate([self.inputs, self.targets], axis=-1)
        count, size = samples.shape[-2:]
        if not isinstance(self.cost, SquaredError) or self.weights is not None or count <= size:
            return self
        # A mean over fewer samples counts each of them more.
        scale = (size / count) ** 0.5 if self.reduction == "mean" else 1.0
        rows = scale * jnp.linalg.qr(samples, mode="r")
        return self.with_samples(rows[..., : self.inputs.shape[-1]], rows[..., self.inputs.shape[-1] :])

    def independent_outputs(
        self, held: Bool[Array, " o"], coupling: Float[Array, "o o"]
    ) -> Bool[Array, " o"]:
        """Of the outputs that are `held` at once, as many as do not follow from one another.

        `G_TT = A G Aᵀ` is singular if and only if rows of A depend on one another beside the rows that the
        boundary holds, for G is positive definite there: whatever k is. So elimination of the readouts' own
        Gram matrix tells how many, in which a pivot is the squared sine of an output's angle to those before
        it. Elimination of `coupling`, G_TT, beside it tells which: those that k lets move best.
        """
        constraints = self.boundary.constraints
        directions = _free_directions(jnp, self.readout, constraints.rows, constraints.lift)
        sizes = jnp.diagonal(coupling)

        def eliminate(state: _Elimination, _: None) -> tuple[_Elimination, None]:
            overlaps, couplings, chosen = state
            fresh = held & ~chosen & (jnp.diagonal(overlaps) > _dependence(coupling.dtype))
            output = jnp.argmax(jnp.where(fresh, jnp.diagonal(couplings) / sizes, -jnp.inf))
            found = fresh[output]

            def without(left: Array) -> Array:
                pivot = jnp.where(found, left[output, output], 1)
                return jnp.where(found, left - jnp.outer(left[output], left[output]) / pivot, left)

            chosen = chosen.at[output].set(chosen[output] | found)
            return (without(overlaps), without(couplings), chosen), None

        start = (directions @ directions.T, coupling, jnp.zeros_like(held))
        return jax.lax.scan(eliminate, start, None, length=len(held))[0][2]

    def sample_costs(self, outputs: Float[Array, "R o"]) -> Float[Array, " R"]:
        """Cost of every sample, `(R,)`."""
        weights = jnp.ones_like(self.targets) if self.weights is None else self.weights
        return jax.vmap(self.cost)(outputs, self.targets, weights)

    def cost_gradients(self, outputs: Float[Array, "R o"]) -> Float[Array, "R o"]:
        """`∂C_r/∂y_r` for every sample; minus that is the output force (Stern et al. (2023), eq. 5)."""
        weights = jnp.ones_like(self.targets) if self.weights is None else self.weights
        return jax.vmap(jax.grad(self.cost))(outputs, self.targets, weights)

    def cost_curvatures(self, outputs: Float[Array, "R o"]) -> Float[Array, "R o o"]:
        """`∂²C_r/∂y_r∂y_r` for every sample."""
        weights = jnp.ones_like(self.targets) if self.weights is None else self.weights
        return jax.vmap(jax.hessian(self.cost))(outputs, self.targets, weights)

    @property
    def sample_weight(self) -> float:
        """What one sample counts in the cost: 1 for a sum, 1/R for a mean."""
        return 1.0 if self.reduction == "sum" else 1.0 / self.num_samples


def _length(rows: object) -> int:
    """How many rows; 0 of what has none, which is refused when all arrays are there."""
    return len(rows) if isinstance(rows, Sized) and getattr(rows, "ndim", 1) > 0 else 0


def _free_directions(xp: ModuleType, readout: _Matrix, rows: _Matrix, lift: _Matrix) -> _Matrix:
    """`(o, n)` unit vectors along what each output reads beside the held rows, by NumPy or JAX (`xp`)."""
    left = readout - (readout @ lift) @ rows
    sizes = xp.linalg.norm(left, axis=1, keepdims=True)
    return left / xp.where(sizes > 0, sizes, 1)


def _are_dependent(readout: Array, boundary: Boundary) -> bool:
    """Whether all outputs together are; on the host. `Task.independent_outputs` says which."""
    arrays = (readout, boundary.rows, boundary.constraints.lift)
    directions = _free_directions(np, *(np.asarray(array, dtype=float) for array in arrays))
    try:
        pivots = np.linalg.cholesky(directions @ directions.T).diagonal() ** 2
    except np.linalg.LinAlgError:
        return True
    return bool(pivots.min() <= _dependence(readout.dtype))


def _dependence(dtype: np.dtype) -> float:
    """Squared sine of the angle below which an output counts as following from others."""
    return float(np.finfo(dtype).eps) ** 0.8


def _check_cost(cost: AbstractCost, sample: jax.ShapeDtypeStruct) -> None:
    """A cost of each output would be summed into a number whose gradient does not exist."""
    found = jax.eval_shape(cost, sample, sample, sample)
    shape = getattr(found, "shape", None)
    but = described(found) if shape is None else f"an array of shape {shape}"
    require(shape == (), "cost", "return one number for each sample", f"{type(cost).__name__} returns {but}")


def _check_task(arrays: dict[str, np.ndarray], n: int, boundary: Boundary) -> None:
    for name, array in arrays.items():
        require(array.ndim > 0, name, "hold rows of numbers", f"it is the number {array}")
    s, r, o = len(arrays["force"]), len(arrays["inputs"]), len(arrays["readout"])
    require(r > 0 and o > 0 and s > 0, "inputs", "hold at least one sample", "the task is empty")
    shapes = {
        "force": (s, n),
        "values": (s, boundary.num_held),
        "inputs": (r, s),
        "readout": (o, n),
        "targets": (r, o),
        "weights": (r, o),
    }
    for name, array in arrays.items():
        require(
            array.shape == shapes[name], name, f"have shape {shapes[name]}", f"its shape is {array.shape}"
        )
        require(np.isfinite(array).all(), name, "be finite", "it holds NaN or infinity")
    weights = arrays.get("weights", np.zeros(1))
    require((weights >= 0).all(), "weights", "be at least 0", "one is negative")
    rows = np.asarray(boundary.rows, dtype=float)
    if len(rows):
        # What is left of a readout beside the span of the held rows; nothing if it is held.
        basis = np.linalg.qr(rows.T)[0]
        readout = arrays["readout"].astype(float)
        left = np.linalg.norm(readout - readout @ basis @ basis.T, axis=1)
        held = np.flatnonzero(left <= 1e-6 * np.linalg.norm(readout, axis=1))
        if held.size:
            refuse("readout", "read what is free to move", f"output {held[0]} is also held")
