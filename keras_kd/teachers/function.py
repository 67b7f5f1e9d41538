"""Any function as a teacher, and what a user may give for one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.recording import Recording, recording
from keras_kd.teachers.base import Teacher, takes_training
from keras_kd.teachers.model import ModelTeacher


class FunctionTeacher(Teacher):
    """Calls a function of the inputs; its outputs are the only signals.

    Variables of Keras that the function reaches are found on the first batch, and a
    `torch.nn.Module` runs in inference mode.

    Args:
        function: The function. It gets `training=False` where it has that argument.

    Example:
    >>> teacher = keras_kd.teachers.FunctionTeacher(lambda x: 2.0 * x)
    >>> record = teacher.signals(keras.ops.ones(1), [], fed=None, check_calls=False)
    >>> float(record.output[0])
    2.0
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._takes_training = takes_training(function)
        self._modes = _backend.Modes(function)

    def given(self) -> Any:
        return self._function

    def signals(
        self, x: Any, requests: Sequence[Any], *, fed: Any, check_calls: bool
    ) -> Recording:
        del fed
        run, more = self._function, {}
        if self._takes_training:
            more["training"] = False
        with (
            self._modes.kept_in_inference(),
            recording(run, requests, side="teacher", check_calls=check_calls) as record,
        ):
            record.output = run(x, **more)
        return record


def as_teacher(given: Any) -> Teacher | None:
    """Return what a user gave as a teacher in the form of one.

    Args:
        given: A `Teacher`, a Keras model or layer, a function, or None.

    Raises:
        ValueError: If it is none of these.
    """
    if given is None or isinstance(given, Teacher):
        return given
    if isinstance(given, keras.layers.Layer):
        return ModelTeacher(given)
    if callable(given) and not isinstance(given, type):
        return FunctionTeacher(given)
    raise ValueError(
        "`teacher` must be a keras.Model, a Layer, a function of the inputs, a "
        "keras_kd.teachers.Teacher, or None where no loss reads it. "
        f"Received: teacher={given!r} (of type {type(given).__name__})"
    )
