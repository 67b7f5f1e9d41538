"""Training on two devices gives the student that one device gives."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.distribution.scenarios import SCENARIOS

BACKEND = keras.config.backend()
SCRIPTS = {"jax": "data_parallel", "tensorflow": "mirrored_strategy"}
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    BACKEND not in SCRIPTS, reason="Keras 3.15 has no distribution on torch"
)


@functools.cache
def results():
    """Run the script of the backend in a process of its own."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        [sys.executable, "-m", f"tests.distribution.{SCRIPTS[BACKEND]}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_devices_train_the_same_student(scenario):
    """Each device would average over its own weights and tokens: another student."""
    one, two = (results()[devices][scenario] for devices in ("one", "two"))
    for one_weight, two_weight in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(two_weight, one_weight, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_devices_report_the_same_metrics(scenario):
    """The logs would hold one device's share of a loss, or the mean of two."""
    one, two = (results()[devices][scenario] for devices in ("one", "two"))
    for part in ("history", "evaluated"):
        assert set(one[part]) == set(two[part])
        assert any(name.endswith("_distillation") for name in one[part])
        for name, values in one[part].items():
            np.testing.assert_allclose(
                two[part][name], values, rtol=1e-5, atol=1e-6, err_msg=name
            )
