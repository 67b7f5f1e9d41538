"""Schedules that warm a weight up."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_kd.schedules import CosineWarmup, LinearWarmup

STEPS = np.array([0, 1, 5, 10, 11, 1000])


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (LinearWarmup, lambda share: share),
        (CosineWarmup, lambda share: (1 - np.cos(np.pi * share)) / 2),
    ],
)
def test_rises_to_its_value_and_stays(make, shape):
    """A weight that goes on rising, or never gets there, is another recipe."""
    schedule = make(3.0, 10)
    wanted = 3.0 * shape(np.minimum(STEPS / 10, 1.0))
    for dtype in ("int32", "float32"):
        steps = [ops.convert_to_tensor(step, dtype) for step in STEPS]
        found = [float(ops.convert_to_numpy(schedule(step))) for step in steps]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert float(ops.convert_to_numpy(schedule(0))) == 0.0


@pytest.mark.parametrize("make", [LinearWarmup, CosineWarmup])
def test_is_read_in_a_compiled_step(make):
    """An optimiser reads its schedule where no Python number exists any more."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(make(0.5, 4))
    model.compile(optimizer, "mse")
    model.fit(np.ones((2, 1)), np.ones((2, 1)), batch_size=1, epochs=2, verbose=0)
    found = float(ops.convert_to_numpy(optimizer.learning_rate))
    assert found == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("make", [LinearWarmup, CosineWarmup])
def test_survives_its_own_config(make):
    """A resumed run would go on with another weight."""
    schedule = make(2.0, 7)
    again = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(schedule)
    )
    assert type(again) is make
    assert (
        again.get_config()
        == schedule.get_config()
        == {
            "value": 2.0,
            "warmup_steps": 7,
        }
    )


@pytest.mark.parametrize("make", [LinearWarmup, CosineWarmup])
def test_arguments_are_checked(make):
    """0 steps would divide by 0; epochs in the place of steps are no whole number."""
    for steps in (0, -1, 2.5, True, None):
        with pytest.raises(ValueError, match="`warmup_steps` must be a whole number"):
            make(1.0, steps)
    for value in (float("nan"), float("inf"), None, "1", True):
        with pytest.raises(ValueError, match="`value` must be a finite number"):
            make(value, 10)
