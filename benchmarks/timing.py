"""Seconds per step of `fit` and of inference, on any backend and device."""

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import keras
import numpy as np

BACKEND = keras.config.backend()

if BACKEND == "jax":
    import jax
elif BACKEND == "tensorflow":
    import tensorflow as tf
else:
    import torch


def finish(values: Any) -> None:
    """Wait until the device has computed `values` and all that was asked before."""
    if BACKEND == "jax":
        jax.block_until_ready(values)
    elif BACKEND == "tensorflow":
        tf.test.experimental.sync_devices()
    elif torch.cuda.is_available():
        torch.cuda.synchronize()


def device_name() -> str:
    """Say what the steps run on."""
    if BACKEND == "jax":
        return str(jax.devices()[0].device_kind)
    if BACKEND == "tensorflow":
        gpus = tf.config.list_physical_devices("GPU")
        return str(tf.config.experimental.get_device_details(gpus[0])["device_name"]
                   if gpus else platform.machine())  # fmt: skip
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that the figures hold for."""
    return {name: version(name) for name in ("keras", BACKEND, "numpy")}


# "wall" is what a user waits for. "cpu" is the processor time of this process, which
# other processes hardly disturb; threads that wait by spinning count as busy in it.
CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "cpu": time.process_time,
}


class _Epoch(keras.callbacks.Callback):
    """Measures one epoch from before its first batch to the end of its last update."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock

    def on_epoch_begin(self, epoch, logs=None):
        self._start = self._clock()

    def on_epoch_end(self, epoch, logs=None):
        finish([variable.value for variable in self.model.trainable_variables])
        self.seconds = self._clock() - self._start


class Training:
    """Times `model.fit` over the same batches, in the same order."""

    def __init__(
        self, model: keras.Model, x: Any, y: Any, batch_size: int, clock: str
    ) -> None:
        self._model, self._x, self._y, self._batch_size = model, x, y, batch_size
        self._steps = len(y) // batch_size
        self._clock = CLOCKS[clock]

    def __call__(self) -> float:
        """Return the seconds per step of one epoch."""
        epoch = _Epoch(self._clock)
        self._model.fit(
            self._x,
            self._y,
            batch_size=self._batch_size,
            shuffle=False,
            verbose=0,
            callbacks=[epoch],
        )
        return epoch.seconds / self._steps


class Inference:
    """Times the function that `model.predict` compiles, outputs left on the device.

    The inputs lie on the device as well: in a distillation step they got there for
    the student already.
    """

    def __init__(self, model: keras.Model, x: Any, batch_size: int, clock: str) -> None:
        self._clock = CLOCKS[clock]
        self._batches = [
            keras.ops.convert_to_tensor(x[start : start + batch_size])
            for start in range(0, len(x), batch_size)
        ]
        model.make_predict_function()
        self._function = model.predict_function
        # On JAX the function takes the state, gives it back, and destroys what it
        # took: a copy, because the model may be in use elsewhere.
        self._state = [
            [keras.ops.copy(variable.value) for variable in variables]
            for variables in (model.trainable_variables, model.non_trainable_variables)
        ]

    def __call__(self) -> float:
        """Return the seconds per batch."""
        start = self._clock()
        for batch in self._batches:
            if BACKEND == "jax":
                outputs, self._state = self._function(self._state, iter([(batch,)]))
            else:
                outputs = self._function([(batch,)])
        finish(outputs)
        return (self._clock() - start) / len(self._batches)


def interleaved(
    timers: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Return the figures of each timer, one a round, taken in turns.

    What disturbs the machine for a while then meets all of them; and each round
    starts with another, so that none always follows the same neighbour.
    """
    names = list(timers)
    for timer in timers.values():  # compiles, and is not counted
        timer()
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(timers[name]())
    return figures


def summary(figures: Sequence[float]) -> dict[str, float]:
    """Return the median of some figures and the quartiles around it."""
    low, median, high = np.percentile(figures, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}
