"""Discovering the task of a network that someone else trained (Stern et al. (2023), section III D).

An experimenter who can push every node and read all of them measures the response `G = H⁻¹` in n experiments.
Training for a local task leaves one soft mode that is localised on the nodes of the task, `(e_s + e_t) / √2`
for one source and one target, and one outstanding response between different nodes. `discover` tests whether
an untrained network would have one as large, and names the nodes of the softest mode. Since H is symmetric,
source and target cannot be told apart.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from numpy.typing import ArrayLike

from jaxphys._checks import check_key, is_concrete, require, to_array
from jaxphys.diagnostics._spectrum import peaked_mode
from jaxphys.equilibrium import Boundary, greens_function
from jaxphys.networks.physics import AbstractNetwork

NoiseScale = Literal["reading", "response"]


class Discovery(eqx.Module):
    """The result of `discover` for one network; for an ensemble each array has a leading realization axis.

    - `trained`: whether `p_value` is at most the significance level.
    - `p_value`: probability that an untrained network is as extreme, by the add-one rule.
    - `nodes`: the two coordinates on which the softest mode is largest, largest first: source and target in
      either order.
    - `concentration`: share of the softest mode on these nodes, `v_a² + v_b²`, between 2/n and 1.
    - `peak`: the largest response between two different coordinates over the root mean square of all such
      responses, `max |G_ab| / rms`; at most `√(n (n - 1) / 2)`.
    - `softness`: response `1/λ` of the softest mode, in units of x per force; `contrast`: its ratio to the
      response of the next mode.
    - `mode`: `(n,)` the softest mode, its largest entry positive: the pattern of forces with the largest
      response, and the pattern of that response. Of several equally soft modes (`contrast` 1) it is the
      combination most concentrated on one node; where `contrast` is near 1 errors of the readings mix them.
    - `response`: `(n,)` the response to a unit force on `nodes[0]`; `output`: its entry at `nodes[1]`,
      presumably the trained response (`G` is symmetric: also with the nodes exchanged).
    """

    trained: Bool[Array, ""]
    p_value: Float[Array, ""]
    nodes: Int[Array, "2"]
    concentration: Float[Array, ""]
    peak: Float[Array, ""]
    softness: Float[Array, ""]
    contrast: Float[Array, ""]
    mode: Float[Array, " n"]
    response: Float[Array, " n"]
    output: Float[Array, ""]


def measure_responses(
    network: AbstractNetwork,
    boundary: Boundary,
    key: Key[Array, ""],
    *,
    noise: float = 0.0,
    noise_scale: NoiseScale = "reading",
) -> Float[Array, "n n"]:
    """Readings of all coordinates (rows) under a unit force on each (columns), with Gaussian errors.

    **Arguments**

    - `network`, `boundary`: one network of n coordinates and its boundary. `key`: draws the errors.
    - `noise`: standard deviation of the error of a reading, relative to the reading itself
      (`noise_scale="reading"`) or to the root mean square of its column (`"response"`).

    **Returns** `(n, n)`, in units of 1/k.

    Raises `InputError` if `noise` is negative, and on another name for `noise_scale`.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1)]), k=2.0)
    >>> boundary = jp.Boundary(network, ground=[1])
    >>> jp.diagnostics.measure_responses(network, boundary, jax.random.key(0))[0, 0].round(3).item()
    0.5
    """
    check_key("key", key)
    require(noise >= 0, "noise", "be at least 0", f"it is {noise}")
    require(
        noise_scale in ("reading", "response"),
        "noise_scale",
        'be "reading" or "response"',
        f"it is {noise_scale!r}",
    )
    return _with_errors(greens_function(network, boundary), key, noise, noise_scale)


def discover(
    responses: Float[Array, "n n"],
    key: Key[Array, ""],
    *,
    controls: Float[Array, "c n n"] | None = None,
    num_null: int = 999,
    significance: float = 0.01,
) -> Discovery:
    """Test whether a network was trained for a local task, and name it, from measured responses alone.

    Stern et al. (2023), section III D. The responses are made symmetric, `(X + Xᵀ)/2`; their largest
    eigenvalue belongs to the softest mode. The test statistic T is the `peak`, the most outstanding response
    between two different coordinates. (Errors of readings make single nodes stand out, hardly ever a pair.)
    Under the null hypothesis the network is untrained:

    - without `controls`, modes have random directions: the null model has the measured spectrum and modes in
      `num_null` uniformly random directions. This holds for random node networks, whose untrained modes have
      no preferred directions. It fails for networks on sparse graphs, where neighbours respond together
      without training: they would be called trained;
    - with `controls`, the network is one more draw like these responses of c untrained networks of the same
      kind (the same graph with other k). Use them for flow and spring networks. Then a second statistic
      counts, the `contrast` of the softest mode with the next, and the smaller p-value is doubled, as a
      correction for two tests.

    The p-value is `(1 + #{T_null ≥ T}) / (1 + #null)`, at least `1 / (1 + #null)`. The function works under
    `jit` and `vmap`; with one `key` for all networks under `vmap` they share the random directions, which is
    faster.

    **Arguments**

    - `responses`: `(n, n)`, column j read under a unit force on coordinate j.
    - `key`: draws the random directions.
    - `controls`: `(c, n, n)`, responses of untrained networks.
    - `num_null`: how many random directions, without `controls`.
    - `significance`: the largest p-value at which a network is called trained.

    **Returns** a `Discovery`.

    Raises `InputError` on numbers out of range, shapes that do not fit, responses that are not finite, or a
    null ensemble too small for the significance asked for.

    >>> import jax, jax.numpy as jnp, jaxphys as jp
    >>> soft = jnp.zeros(12).at[jnp.array([2, 7])].set(1.0)
    >>> found = jp.diagnostics.discover(jnp.eye(12) + 5 * jnp.outer(soft, soft), jax.random.key(0))
    >>> bool(found.trained), sorted(found.nodes.tolist()), round(found.output.item(), 3)
    (True, [2, 7], 5.0)
    """
    check_key("key", key)
    responses = _matrices("responses", responses)
    controls = None if controls is None else _matrices("controls", controls)
    _check_test(responses, controls, num_null, significance)
    symmetric = 0.5 * (responses + responses.T)
    values, vectors = jnp.linalg.eigh(symmetric)
    mode = peaked_mode(values, vectors.T, -1)
    shares, nodes = jax.lax.top_k(jnp.abs(mode), 2)
    p_value = _p_value(symmetric, values, key, controls, num_null)
    return Discovery(
        trained=p_value <= significance,
        p_value=p_value,
        nodes=nodes,
        concentration=jnp.sum(shares**2),
        peak=_peak(symmetric),
        softness=values[-1],
        contrast=_contrast(values),
        mode=mode,
        response=symmetric[:, nodes[0]],
        output=symmetric[nodes[1], nodes[0]],
    )


def _check_test(responses: Array, controls: Array | None, num_null: int, significance: float) -> None:
    """Refuse arguments of `discover` that do not fit together."""
    n = responses.shape[-1] if responses.ndim else 0
    require(
        responses.shape == (n, n) and n >= 3,
        "responses",
        "be a square matrix of at least 3 coordinates",
        f"its shape is {responses.shape}",
    )
    if is_concrete(responses):
        require(np.isfinite(responses).all(), "responses", "be finite", "it holds NaN or infinity")
    require(0 < significance < 1, "significance", "lie between 0 and 1", f"it is {significance}")
    count, tests = (num_null, 1) if controls is None else (len(controls), 2)
    require(
        tests / (count + 1) <= significance,
        "num_null" if controls is None else "controls",
        f"be at least {int(np.ceil(tests / significance)) - 1} for a significance of {significance}",
        f"there are {count}",
    )
    if controls is not None:
        require(
            controls.shape[1:] == (n, n), "controls", f"have shape (c, {n}, {n})", f"it is {controls.shape}"
        )


def _p_value(
    symmetric: Float[Array, "n n"],
    values: Float[Array, " n"],
    key: Key[Array, ""],
    controls: Float[Array, "c n n"] | None,
    num_null: int,
) -> Float[Array, ""]:
    """The p-value of symmetric responses and their eigenvalues, by the add-one rule, of one or two tests."""
    peak = _peak(symmetric)
    if controls is None:
        frames = random_frames(key, num_null, len(values), values.dtype)
        extreme = jnp.sum(jax.vmap(_peak)(with_spectrum(values, frames)) >= peak)
        return (1 + extreme.astype(values.dtype)) / (1 + num_null)
    untrained = 0.5 * (controls + jnp.swapaxes(controls, 1, 2))
    contrasts = jax.vmap(_contrast)(jnp.linalg.eigvalsh(untrained))
    extreme = jnp.minimum(
        jnp.sum(jax.vmap(_peak)(untrained) >= peak), jnp.sum(contrasts >= _contrast(values))
    )
    return jnp.minimum(2 * (1 + extreme.astype(values.dtype)) / (1 + len(controls)), 1)


def _matrices(argument: str, values: ArrayLike) -> Array:
    return values if isinstance(values, jax.Array) else jnp.asarray(to_array(argument, values, float))


def _peak(symmetric: Float[Array, "n n"]) -> Float[Array, ""]:
    pairs = symmetric[np.triu_indices(len(symmetric), 1)]
    return jnp.max(jnp.abs(pairs)) / (jnp.sqrt(jnp.mean(pairs**2)) + jnp.finfo(pairs.dtype).tiny)


def _contrast(values: Float[Array, " n"]) -> Float[Array, ""]:
    """Ratio of the largest eigenvalue of the responses, of the softest mode, to the next."""
    return values[-1] / jnp.maximum(jnp.abs(values[-2]), jnp.finfo(values.dtype).tiny)


def random_frames(key: Key[Array, ""], count: int, size: int, dtype: jnp.dtype) -> Float[Array, "c n n"]:
    """Uniformly random orthogonal matrices, up to signs of columns, which do not change `with_spectrum`.

    **Arguments**: `key`: of the draw. `count`, `size`: how many matrices, and of how many rows. `dtype`:
    theirs.

    **Returns** `(count, size, size)`, from QR factorisations of standard normal matrices.
    """
    return jnp.linalg.qr(jax.random.normal(key, (count, size, size), dtype))[0]


def with_spectrum(values: Float[Array, " n"], frames: Float[Array, "c n n"]) -> Float[Array, "c n n"]:
    """Symmetric matrices `Q diag(values) Qᵀ`, one for each orthogonal matrix Q of `frames`.

    **Arguments**: `values`: `(n,)`, the eigenvalues of all. `frames`: `(c, n, n)`, whose columns are the
    eigenvectors. **Returns** `(c, n, n)`, in the units of `values`.
    """
    return (frames * values) @ jnp.swapaxes(frames, 1, 2)


def _with_errors(
    responses: Float[Array, "n n"], key: Key[Array, ""], noise: float, noise_scale: NoiseScale
) -> Float[Array, "n n"]:
    scale = jnp.abs(responses)
    if noise_scale == "response":
        scale = jnp.broadcast_to(jnp.sqrt(jnp.mean(responses**2, axis=0)), responses.shape)
    return responses + noise * scale * jax.random.normal(key, responses.shape, responses.dtype)
