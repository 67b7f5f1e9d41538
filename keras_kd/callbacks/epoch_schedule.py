"""Weights and temperatures that change from epoch to epoch."""

from collections.abc import Callable
from typing import Any

import keras

from keras_kd.hyperparameters import names_of


class EpochSchedule(keras.callbacks.Callback):
    """Assigns a weight or a temperature at the beginning of each epoch.

    For what changes with the optimiser's step pass a `LearningRateSchedule` in place
    of the number; this is for what follows the epoch or the validation.

    Args:
        name: The name of a hyperparameter: "student_loss_weight",
            "distillation_weight", or one of a loss, as "temperature".
        schedule: A function of the epoch and of the logs of the one before (an empty
            dict at first) to a number.
        loss: The loss that has it. Defaults to None: the Distiller has.

    Raises:
        ValueError: `schedule` is no function, or, when training begins, there is no
            such hyperparameter.

    Example:
    >>> loss = LogitsDistillation(8.0)
    >>> cooling = EpochSchedule(
    ...     "temperature", lambda epoch, logs: max(8.0 - epoch, 2.0), loss=loss
    ... )
    >>> cooling.schedule(3, {})
    5.0
    """

    def __init__(
        self,
        name: str,
        schedule: Callable[[int, dict[str, float]], float],
        loss: Any = None,
    ) -> None:
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                "`schedule` must be a function of (epoch, logs). "
                f"Received: schedule={schedule!r}"
            )
        self.name, self.schedule, self.loss = name, schedule, loss
        self._logs: dict[str, float] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        owner = self._owner()
        if self.name not in names_of(owner):
            known = ", ".join(names_of(owner)) or "none"
            raise ValueError(
                f"`name` must be a hyperparameter of the {type(owner).__name__}: "
                f"{known}. Received: name={self.name!r}"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        setattr(self._owner(), self.name, self.schedule(epoch, self._logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._logs = dict(logs or {})

    def _owner(self) -> Any:
        return self.model if self.loss is None else self.loss
