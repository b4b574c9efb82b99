"""Two bugs of JAX that jaxphys must not meet again; `pyproject.toml` excludes the versions that have them.

Both were seen to fail with the versions named here before they were committed.
"""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import assert_close

# The same in either precision.
pytestmark = pytest.mark.float64

# Two factorisations that do not wait for each other, inside a loop, in one program. On two cores jax 0.10.0,
# 0.10.1, 0.10.2 and 0.11.0 never return: each waits for threads that the other has taken.
TWO_FACTORISATIONS = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
matrices = [jnp.tile(scale * jnp.eye(40), (500, 1, 1)) for scale in (2.0, 4.0)]

def solve(matrix, column):
    if sys.argv[1] == "cholesky":
        return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), column)
    return jnp.linalg.solve(matrix, column)

def step(_, columns):
    # Something of the state enters the matrices, or they would be factored once, before the loop.
    nothing = 0 * columns[0][0, 0, 0]
    return [solve(matrix + nothing, column) for matrix, column in zip(matrices, columns)]

run = jax.jit(lambda columns: jax.lax.fori_loop(0, 10, step, columns))
for _ in range(4):
    found = run([jnp.ones((500, 40, 1))] * 2)
print(*(float(jnp.log2(column).mean()) for column in found))
"""


@pytest.mark.parametrize("kind", ["cholesky", "lu"])
def test_two_batched_factorisations_in_one_program_return(kind):
    """In a process of its own, which can be ended, and without the settings of this suite."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", TWO_FACTORISATIONS, kind],
            env=environment,
            timeout=60,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"jax {jax.__version__} hangs on two independent batched {kind} factorisations")
    assert done.returncode == 0, done.stderr
    assert_close([float(word) for word in done.stdout.split()], [-10.0, -20.0], relative=1e-12)


@pytest.mark.parametrize("batch", [64, 16_384, 16_385, 20_000, 32_769])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_batches_of_small_products_and_sums_are_right(size, batch):
    """A matrix times many small vectors, and a sum over each product (jax issue 39103).

    jax 0.10.2 on CPU returns wrong numbers for some sizes, 3 and 5 among them, from the 16 385th
    vector on in double precision and the 32 769th in single. Small integers make every sum exact.
    """
    random = np.random.default_rng(size)
    dtype = jax.dtypes.canonicalize_dtype(float)
    matrix = random.integers(-3, 4, (size, size)).astype(dtype)
    vectors = random.integers(-3, 4, (batch, size)).astype(dtype)
    found = jax.jit(jax.vmap(lambda vector: ((matrix @ vector) ** 2).sum()))(vectors)
    np.testing.assert_array_equal(found, ((vectors @ matrix.T) ** 2).sum(axis=1))
