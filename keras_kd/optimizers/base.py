"""Optimizers that want more than one gradient, or to know the student."""

from typing import Any

import keras


class DistillationOptimizer(keras.optimizers.Optimizer):
    """Base class of optimizers that a Distiller tells more than Keras does.

    To write one, override `update_step` as for any Keras optimizer, and set
    `wants_task_gradients` where the gradient of the task is needed apart: each step
    then hands it over in `task_gradients` before `apply` is called with the gradient
    of the whole loss. A `keras.optimizers.LossScaleOptimizer` may be wrapped around.

    Attributes:
        wants_task_gradients: Whether the step goes backwards from the task alone too.
            Defaults to False.
        task_gradients: In a step, a list with the gradient of the weighted task loss
            and the penalties for each trainable variable, or None for one that the
            task does not reach.
    """

    wants_task_gradients: bool = False
    task_gradients: list[Any] | None = None

    def bind(self, student: keras.Model) -> None:
        """Learn which student it trains; called when the Distiller is compiled.

        Args:
            student: The student, which may not be built yet.

        Raises:
            ValueError: If the optimizer cannot train it.
        """

    @property
    def updates(self) -> Any:
        """A number that grows whenever a variable is updated."""
        return self.iterations


class PlainOptimizer:
    """Stands for an optimizer of Keras, which wants nothing more.

    Args:
        optimizer: The optimizer.
    """

    wants_task_gradients = False

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self._optimizer = optimizer

    def bind(self, student: keras.Model) -> None:
        """Do nothing."""

    @property
    def updates(self) -> Any:
        """A number that grows whenever a variable is updated."""
        return self._optimizer.iterations


def as_distillation_optimizer(optimizer: Any) -> Any:
    """Return the optimizer that a `LossScaleOptimizer` may hold, in our form."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(inner, DistillationOptimizer):
        return inner
    # The outer one counts the steps that were not skipped.
    return PlainOptimizer(optimizer)
