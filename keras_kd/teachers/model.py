"""A trained model that only gives targets."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.recording import Recording, recording
from keras_kd.teachers.base import Teacher


class ModelTeacher(Teacher):
    """Runs a Keras model or layer in inference mode.

    Args:
        model: A `keras.Model` or a `keras.layers.Layer`.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> len(keras_kd.teachers.ModelTeacher(model).frozen_variables)
    2
    """

    def __init__(self, model: keras.layers.Layer) -> None:
        self._model = model
        self._modes = _backend.Modes(model)

    def given(self) -> Any:
        return self._model

    def network(self) -> keras.layers.Layer:
        return self._model

    @property
    def ready(self) -> bool:
        return _backend.is_built(self._model)

    @property
    def frozen_variables(self) -> list[keras.Variable]:
        return list(self._model.variables)

    def signals(
        self, x: Any, requests: Sequence[Any], *, fed: Any, check_calls: bool
    ) -> Recording:
        del fed
        with self._modes.kept_in_inference():
            return recorded(self._model, x, requests, check_calls=check_calls)


def recorded(
    model: keras.layers.Layer, x: Any, requests: Sequence[Any], *, check_calls: bool
) -> Recording:
    """Run a model once in inference mode, and return the recording of it.

    Args:
        model: The model.
        x: Its inputs.
        requests: The signals that the losses want.
        check_calls: Whether to refuse taps inside of loops.

    Returns:
        The recording.
    """
    with recording(model, requests, side="teacher", check_calls=check_calls) as record:
        record.output = model(x, training=False)
    return record
