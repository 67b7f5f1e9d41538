"""What all tests share: the backend, the seed, and the names that doctests may use."""

import os
import warnings
from pathlib import Path

import pytest

BACKEND = os.environ.get("KERAS_BACKEND")
if BACKEND not in ("jax", "tensorflow", "torch"):
    raise pytest.UsageError(
        "Tests run on one backend a process: set KERAS_BACKEND to 'jax', 'tensorflow' "
        f"or 'torch'. Received: KERAS_BACKEND={BACKEND!r}"
    )
if BACKEND == "torch":
    import torch  # noqa: F401  before TensorFlow, which Keras's data adapters import

# Most of the time on JAX goes into compiling small programs, many of them the same. All
# processes share one cache: the workers of a run, and what a test starts. Two of them
# may meet at a file; what is read half-written is compiled again, with a warning.
if BACKEND == "jax":
    CACHE = Path(__file__).parent / ".pytest_cache" / "jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

with warnings.catch_warnings():
    # What the frameworks warn of while they are imported is no concern of ours.
    warnings.simplefilter("ignore")
    import keras
    import numpy as np

    import keras_kd


@pytest.fixture(autouse=True)
def _same_random_numbers():
    keras.utils.set_random_seed(20)


@pytest.fixture(autouse=True, scope="module")
def _forget_what_was_compiled():
    yield
    if BACKEND == "jax":
        # Each model of each test leaves its programs behind: gigabytes, in the end.
        import jax

        jax.clear_caches()


@pytest.fixture(autouse=True)
def _names_for_doctests(doctest_namespace):
    doctest_namespace.update(np=np, keras=keras, keras_kd=keras_kd)
    doctest_namespace.update({n: getattr(keras_kd, n) for n in keras_kd.__all__})
    doctest_namespace.update(
        {n: getattr(keras_kd.ops, n) for n in keras_kd.ops.__all__}
    )
