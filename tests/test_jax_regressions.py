"""Two bugs of JAX that jaxphys must not meet again; `pyproject.toml` excludes the versions that have them."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, ulps

# Two independent batched factorisations in one program: with jax 0.10.0-0.10.2 and 0.11.0 they hang on two
# cores, each waiting for the other's share of the thread pool.
INDEPENDENT_FACTORISATIONS = """
    import jax, jax.numpy as jnp
    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def iterate(matrices, columns):
        def again(columns, _):
            # Each chain keeps to its own matrix: nothing orders the two factorisations.
            solved = [jnp.linalg.solve(m + 0 * c[0, 0, 0], c) for m, c in zip(matrices, columns)]
            lower = [jnp.linalg.cholesky(m + 0 * c[0, 0, 0]) for m, c in zip(matrices, columns)]
            return [s + 0 * l[:, :, :1] for s, l in zip(solved, lower)], None
        return jax.lax.scan(again, columns, None, length=10)[0]

    matrices = [jnp.tile(jnp.eye(100) * scale, (64, 1, 1)) for scale in (2.0, 4.0)]
    for _ in range(8):
        columns = jax.block_until_ready(iterate(matrices, [jnp.ones((64, 100, 1))] * 2))
    print(float(columns[0].sum() * 2.0**10 + columns[1].sum() * 4.0**10))
"""


def test_independent_factorisations_do_not_hang():
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INDEPENDENT_FACTORISATIONS)],
        env=environment,
        timeout=120,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == 2 * 64 * 100


@pytest.mark.parametrize("rows", [5, 20_000, 40_000])
def test_batched_small_products_with_a_reduction_are_right(rows):
    """jax 0.10.2 sums squares of many 3-vectors behind a small constant matrix wrongly (issue 39103)."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    vectors = np.zeros((rows, 3), dtype)
    vectors[:, 0] = np.arange(rows)
    matrix = jnp.eye(3, dtype=dtype)

    @jax.jit
    @jax.vmap
    def squared_norm(vector):
        return jnp.sum((matrix @ vector) ** 2)

    assert_close(squared_norm(vectors), vectors[:, 0] ** 2, relative=ulps(4))


def test_the_versions_with_the_bugs_are_excluded():
    major, minor = map(int, jax.__version__.split(".")[:2])
    assert (major, minor) != (0, 10)
    assert jax.__version__ != "0.11.0"
