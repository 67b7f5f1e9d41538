"""Every training scheme: compiled, in mixed precision, saved midway and resumed."""

import functools
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.schemes.runs import STOP, Keep, state_of, train
from tests.schemes.table import SCHEMES
from tests.training.helpers import assert_same


@pytest.fixture(scope="module")
def half_precision():
    """Have all layers compute in float16: a loss scale is one more thing to lose."""
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def finished(half_precision, tmp_path_factory):
    """Return what trains a scheme to its end, once, and keeps it as it was halfway."""
    folder = tmp_path_factory.mktemp("schemes")

    @functools.cache
    def run(name):
        path = folder / f"{name}.keras"
        keras.utils.set_random_seed(20)
        distiller = SCHEMES[name].make()
        history = train(name, distiller, 0, Keep(path))
        return path, history, state_of(distiller)

    return run


@pytest.mark.parametrize("name", SCHEMES)
def test_a_saved_run_goes_on_bit_for_bit(name, finished):
    """Whoever loses a night's run to the power must not get another student."""
    path, history, state = finished(name)
    for key, values in history.items():
        assert np.isfinite(values).all(), key
    loaded = keras.saving.load_model(path)
    # A loss that compares nothing would resume as well.
    for loss in loaded.distillation_losses:
        assert history[loss.name][-1] != 0
    keras.utils.set_random_seed(99)  # another process would have other numbers
    resumed = train(name, loaded, STOP)
    assert resumed == {key: values[STOP:] for key, values in history.items()}
    assert_same(state_of(loaded), state)


# What has a state beside the student's and its optimizer's.
WITH_STATE = (
    "teacher_dropping",
    "moving_average",
    "earlier_self",
    "last_batch",
    "gated_branches",
    "an_optimizer_each",
    "data_free",
)


def test_another_process_finishes_the_training(tmp_path, finished):
    """Nothing of a training may live in the memory of a process alone."""
    for name in WITH_STATE:
        shutil.copy(finished(name)[0], tmp_path)
    command = [sys.executable, "-m", "tests.schemes.runs", str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([*command, "mixed_float16"], env=environment, check=True)
    for name in WITH_STATE:
        _, history, state = finished(name)
        resumed = json.loads((tmp_path / f"{name}.json").read_text())
        assert resumed == {key: values[STOP:] for key, values in history.items()}, name
        with np.load(tmp_path / f"{name}.npz") as arrays:
            assert_same([arrays[str(place)] for place in range(len(arrays))], state)
