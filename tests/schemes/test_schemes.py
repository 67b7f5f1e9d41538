"""Every training scheme: compiled, in mixed precision, saved midway and resumed."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.schemes.runs import STOP, Keep, state_of, train
from tests.schemes.table import SCHEMES
from tests.training.helpers import assert_same


@pytest.fixture
def half_precision():
    """Have all layers compute in float16: a loss scale is one more thing to lose."""
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", SCHEMES)
def test_a_saved_run_goes_on_bit_for_bit(name, tmp_path, half_precision):
    """Whoever loses a night's run to the power must not get another student."""
    whole = SCHEMES[name].make()
    history = train(name, whole, 0, Keep(tmp_path / "half.keras"))
    for key, values in history.items():
        assert np.isfinite(values).all(), key
    # A loss that compares nothing would resume as well.
    for loss in whole.distillation_losses:
        assert history[loss.name][-1] != 0
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    keras.utils.set_random_seed(99)  # another process would have other numbers
    resumed = train(name, loaded, STOP)
    assert resumed == {key: values[STOP:] for key, values in history.items()}
    assert_same(state_of(loaded), state_of(whole))


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


def test_another_process_finishes_the_training(tmp_path, half_precision):
    """Nothing of a training may live in the memory of a process alone."""
    wanted = {}
    for name in WITH_STATE:
        whole = SCHEMES[name].make()
        history = train(name, whole, 0, Keep(tmp_path / f"{name}.keras"))
        wanted[name] = history, state_of(whole)
    command = [sys.executable, "-m", "tests.schemes.runs", str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([*command, "mixed_float16"], env=environment, check=True)
    for name, (history, state) in wanted.items():
        resumed = json.loads((tmp_path / f"{name}.json").read_text())
        assert resumed == {key: values[STOP:] for key, values in history.items()}, name
        with np.load(tmp_path / f"{name}.npz") as arrays:
            assert_same([arrays[str(place)] for place in range(len(arrays))], state)
