"""Schedules for the weights and temperatures of distillation.

Keras's own schedules serve too; these start at 0, as weights do that are warmed up.
"""

import math
import numbers
from typing import Any

import keras
from keras import ops

__all__ = ["CosineWarmup", "LinearWarmup"]


class _WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, value: float, warmup_steps: int) -> None:
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value):
            raise ValueError(
                "`value` must be a finite number, which the schedule ends at. "
                f"Received: value={value!r}"
            )
        is_count = isinstance(warmup_steps, numbers.Integral)
        if not is_count or isinstance(warmup_steps, bool) or warmup_steps < 1:
            raise ValueError(
                "`warmup_steps` must be a whole number of optimiser steps, at least 1: "
                "epochs times batches of an epoch. "
                f"Received: warmup_steps={warmup_steps!r}"
            )
        self.value = float(value)
        self.warmup_steps = int(warmup_steps)

    def _progress(self, step: Any) -> Any:
        """Return how much of the warm-up is done, from 0 to 1."""
        return ops.minimum(ops.cast(step, "float32") / self.warmup_steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable(package="keras_kd")
class LinearWarmup(_WarmUp):
    """Rises from 0 to `value` in a straight line and stays there.

    value · min(step / warmup_steps, 1). A weight of a loss that is warmed up lets the
    student first learn from the labels; decoupled and refined logit distillation use
    20 epochs of 240.

    Args:
        value: The number at the end.
        warmup_steps: Number of optimiser steps until then: epochs times batches of an
            epoch. At least 1.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> schedule = LinearWarmup(2.0, warmup_steps=100)
    >>> [float(schedule(step)) for step in (0, 50, 100, 500)]
    [0.0, 1.0, 2.0, 2.0]

    Reference: Zhao et al., 2022, arXiv:2203.08679, which warms up once an epoch.
    """

    def __call__(self, step: Any) -> Any:
        return self.value * self._progress(step)


@keras.saving.register_keras_serializable(package="keras_kd")
class CosineWarmup(_WarmUp):
    """Rises from 0 to `value` along half a cosine and stays there.

    value · (1 − cos(π · min(step / warmup_steps, 1))) / 2.

    Args:
        value: The number at the end.
        warmup_steps: Number of optimiser steps until then: epochs times batches of an
            epoch. At least 1.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> schedule = CosineWarmup(1.0, warmup_steps=100)
    >>> [round(float(schedule(step)), 4) for step in (0, 25, 50, 100, 500)]
    [0.0, 0.1464, 0.5, 1.0, 1.0]

    Reference: Li et al., 2023, curriculum temperature, arXiv:2211.16231, over 10
    epochs.
    """

    def __call__(self, step: Any) -> Any:
        return self.value * 0.5 * (1.0 - ops.cos(math.pi * self._progress(step)))
