"""Loss objects written for `keras.distillation`, inside our Distiller."""

import sys
import warnings
from typing import Any

import keras

from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext

_STOCK = getattr(keras, "distillation", None)
_warned: set[type] = set()


class ScalarLoss(DistillationLoss):
    """Runs an object with a `compute_loss` that returns a scalar.

    Args:
        loss: A loss of `keras.distillation`, a user's subclass of it, or a user's
            subclass of `keras_kd.DistillationLoss` that overrides `compute_loss`.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.teacher_layer_name = getattr(loss, "teacher_layer_name", None)
        self.student_layer_name = getattr(loss, "student_layer_name", None)
        name = getattr(loss, "name", None)
        self.name = name if isinstance(name, str) and name else None
        _warn_of_default(loss)

    @property
    def name(self) -> str:
        """The name of the loss in the logs, after the class of the object inside."""
        given = self.__dict__.get("_name")
        return given or DistillationLoss.name.fget(self.loss)  # type: ignore[attr-defined]

    @name.setter
    def name(self, value: str | None) -> None:
        self.__dict__["_name"] = value

    def bind(self, teacher: Any, student: Any) -> None:
        super().bind(teacher, student)
        # Keras's own feature loss refuses models that our taps reach.
        if not (_STOCK and type(self.loss) is _STOCK.FeatureDistillation):
            self.loss.validate_model_compatibility(teacher, student)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        self.loss.validate_outputs(teacher_outputs, student_outputs)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del step
        value = self.loss.compute_loss(teacher, student)
        if len(keras.ops.shape(value)):
            raise ValueError(
                f"`{type(self.loss).__name__}.compute_loss` must return a scalar. "
                f"Received: a tensor of shape {tuple(value.shape)}. Override `call` of "
                "`keras_kd.DistillationLoss` to return one value per example."
            )
        return value


def _warn_of_default(loss: Any) -> None:
    """Warn, once in a process, of the default of `keras.distillation`."""
    if _STOCK is None or not isinstance(loss, _STOCK.LogitsDistillation):
        return
    wrong = keras.losses.kl_divergence
    is_wrong = any(leaf is wrong for leaf in keras.tree.flatten(loss.loss))
    if is_wrong and type(loss) not in _warned:
        _warned.add(type(loss))
        warnings.warn(
            "keras.distillation.LogitsDistillation compares raw logits by its "
            "default loss 'kl_divergence', without softmax and T². Use "
            "keras_kd.LogitsDistillation, which is the KL divergence.",
            stacklevel=_level_of_user(),
        )


def _level_of_user() -> int:
    """Return the `stacklevel`, for the caller, of the code that called keras_kd."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("keras_kd."):
        level, frame = level + 1, frame.f_back
    return level


def as_distillation_loss(loss: Any) -> DistillationLoss:
    """Return `loss` where it is one of ours, or wrapped where it gives a scalar.

    Raises:
        ValueError: If it is not a distillation loss.
    """
    if isinstance(loss, DistillationLoss):
        overrides_call = type(loss).call is not DistillationLoss.call
        overrides_scalar = type(loss).compute_loss is not DistillationLoss.compute_loss
        if overrides_call or not overrides_scalar:
            return loss
        return ScalarLoss(loss)
    methods = ("compute_loss", "validate_outputs", "validate_model_compatibility")
    is_class = isinstance(loss, type)
    if not is_class and all(callable(getattr(loss, name, None)) for name in methods):
        return ScalarLoss(loss)
    hint = ""
    if is_class:
        hint = f" Give an object: {loss.__name__}()."
    elif isinstance(loss, (str, keras.losses.Loss)) or callable(loss):
        hint = (
            " Wrap it: LogitsDistillation(loss=...) or FeatureDistillation(loss=...)."
        )
    raise ValueError(
        "`distillation_losses` must be a DistillationLoss or a list of them. "
        f"Received: {loss!r} (of type {type(loss).__name__}).{hint}"
    )
