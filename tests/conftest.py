"""Settings that must hold before JAX starts, and the two precision legs.

The suite runs in double precision. `JAXPHYS_TEST_FLOAT32=1 pytest` runs it in single precision,
without the tests marked `float64`.
"""

import gc
import os
from importlib.metadata import version
from pathlib import Path

# Some JAX versions deadlock on machines with few cores; a larger thread pool is a belt against that.
# It is read when the first backend starts, so it must be set before any array exists.
os.environ.setdefault("NPROC", "16")

# Most of the suite's time is compilation; without LLVM's optimisations it takes two thirds of the time, and
# with XLA's older emitters half. `XLA_FLAGS= pytest` compiles as users do.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    # XLA stops at flags that it does not know.
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.9.") else ""),
)

import equinox as eqx
import jax
import numpy as np
import pytest

import jaxphys as jp

SINGLE_PRECISION = os.environ.get("JAXPHYS_TEST_FLOAT32") == "1"

jax.config.update("jax_enable_x64", not SINGLE_PRECISION)
jax.config.update("jax_numpy_dtype_promotion", "strict")

pytest.register_assert_rewrite("helpers", "oracles", "systems")


def pytest_ignore_collect(collection_path):
    """In single precision, spare the import of modules all of whose tests are marked `float64`."""
    if SINGLE_PRECISION and collection_path.suffix == ".py":
        text = collection_path.read_text(encoding="utf-8")
        if "\npytestmark = pytest.mark.float64\n" in text:
            return True
    return None


def pytest_collection_modifyitems(config, items):
    if not SINGLE_PRECISION:
        return
    doubles = [item for item in items if item.get_closest_marker("float64")]
    config.hook.pytest_deselected(items=doubles)
    items[:] = [item for item in items if not item.get_closest_marker("float64")]


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forget compiled programs before there are too many: each takes memory maps, which run out at 65 530."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        eqx.clear_caches()
        jax.clear_caches()
        gc.collect()


@pytest.fixture(params=["dense", "bordered_lu"])
def solver(request):
    """Both solvers, one after the other."""
    return {"dense": jp.Dense(), "bordered_lu": jp.BorderedLU()}[request.param]


@pytest.fixture
def random():
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture
def key():
    """A JAX random key with a fixed seed."""
    return jax.random.key(7)
