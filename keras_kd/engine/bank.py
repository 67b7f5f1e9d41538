"""The present values of the hyperparameters, where a compiled step can read them."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Schedule


class HyperparameterBank:
    """Keeps one scalar variable for each number that may change between steps.

    A number read while a step is traced would be frozen into it; a variable is not. A
    schedule is a function of the step, and needs no variable.

    Args:
        readers: For each hyperparameter, by the id of its owner and its name, a
            function that returns its value: a number, a schedule, or None for one
            that is derived from others.
        restructured: Called when a value of one of these kinds takes the place of
            another kind, which only a new trace can follow.
    """

    def __init__(
        self,
        readers: dict[tuple[int, str], Callable[[], Any]],
        restructured: Callable[[], None],
    ) -> None:
        self._readers = readers
        self._restructured = restructured
        self._kinds = {key: _kind(read()) for key, read in readers.items()}
        self._variables = {
            key: keras.Variable(
                float(read()) if _kind(read()) == "number" else 0.0,
                dtype="float32",
                trainable=False,
                autocast=False,
                name=key[1].strip("]").replace("[", "_"),
            )
            for key, read in readers.items()
        }

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables, in a fixed order."""
        return list(self._variables.values())

    def refresh(self, key: tuple[int, str]) -> None:
        """Carry a newly assigned value over into the compiled step."""
        value = self._readers[key]()
        kind = _kind(value)
        if kind == "number":
            self._variables[key].assign(float(value))
        if kind != self._kinds[key]:
            self._kinds[key] = kind
            self._restructured()

    def values(self, step: Any) -> dict[tuple[int, str], Any]:
        """Return every value at the optimiser's step, as scalar float32 tensors."""
        values = {}
        for key, read in self._readers.items():
            value = read()
            if _kind(value) == "number":
                values[key] = ops.convert_to_tensor(self._variables[key].value)
            elif value is not None:
                values[key] = ops.cast(value(step), "float32")
        return values


def _kind(value: Any) -> str:
    if value is None:
        return "derived"
    return "schedule" if isinstance(value, Schedule) else "number"
