"""Weights and temperatures that change from epoch to epoch."""

import re
from collections.abc import Callable
from typing import Any

import keras

from keras_kd.hyperparameters import names_of

_WEIGHTS = "distillation_loss_weights"


class EpochSchedule(keras.callbacks.Callback):
    """Assigns a weight or a temperature at the beginning of each epoch.

    For what changes with the optimizer's step pass a `LearningRateSchedule` in place
    of the number; this is for what follows the epoch or the validation.

    Args:
        name: The name of a hyperparameter: "student_loss_weight",
            "distillation_weight", or one of a loss, as "temperature"; or
            "distillation_loss_weights" for the weight of `loss`, which may be left out
            where there is one loss, or given by its place:
            "distillation_loss_weights[1]".
        schedule: A function of the epoch and of the logs of the one before (an empty
            dict at first) to a number.
        loss: The loss that has the hyperparameter or the weight. Defaults to None: the
            Distiller has.

    Raises:
        ValueError: If `schedule` is not a function, or, when training begins, if there
            is no such hyperparameter or loss.

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
        if self._place() is None and self.name not in names_of(owner):
            known = [*names_of(owner), *([_WEIGHTS] if owner is self.model else [])]
            raise ValueError(
                f"`name` must be a hyperparameter of the {type(owner).__name__}: "
                f"{', '.join(known) or 'none'}. Received: name={self.name!r}"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        value, place = self.schedule(epoch, self._logs), self._place()
        if place is None:
            setattr(self._owner(), self.name, value)
        else:
            self.model.distillation_loss_weights[place] = value

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._logs = dict(logs or {})

    def _owner(self) -> Any:
        return self.model if self.loss is None else self.loss

    def _place(self) -> int | None:
        """Return which of the losses' weights is meant, or None for another number."""
        match = re.fullmatch(rf"{_WEIGHTS}(?:\[(-?\d+)\])?", self.name)
        if match is None:
            return None
        losses = self.model.distillation_losses
        if match[1] is None:
            wanted = losses if self.loss is None else [self.loss]
            places = [n for n, loss in enumerate(losses) if loss is wanted[0]]
            if len(wanted) == 1 and places:
                return places[0]
        elif self.loss is None and -len(losses) <= int(match[1]) < len(losses):
            return int(match[1])
        raise ValueError(
            "`name` must say the weight of which loss: "
            f"'{_WEIGHTS}' with `loss=` one of the Distiller's {len(losses)}, or "
            f"'{_WEIGHTS}[0]' to '{_WEIGHTS}[{len(losses) - 1}]' without. "
            f"Received: name={self.name!r}, loss={self.loss!r}"
        )
