"""A trained model that only answers."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.recording import Recording, recording


class FrozenTeacher:
    """Runs a model, a layer or a function in inference mode and changes nothing in it.

    Args:
        model: A `keras.Model`, a `keras.layers.Layer` or a function of the inputs.
        inputs: A function from the batch's `x` to the model's inputs, or None.

    Raises:
        ValueError: `model` is none of these.

    Example:
    >>> teacher = FrozenTeacher(lambda x: 2.0 * x)
    >>> float(teacher.forward(keras.ops.ones((1, 1)), []).output[0, 0])
    2.0
    """

    def __init__(self, model: Any, inputs: Callable[[Any], Any] | None = None) -> None:
        is_layer = isinstance(model, keras.layers.Layer)
        if isinstance(model, type) or not (is_layer or callable(model)):
            raise ValueError(
                "`teacher` must be a keras.Model, a Layer, a function of the inputs, "
                "or None where no loss reads it. "
                f"Received: teacher={model!r} (of type {type(model).__name__})"
            )
        self.model = model
        self.inputs = inputs
        self._takes_training = is_layer or _takes_training(model)

    @property
    def variables(self) -> list[keras.Variable]:
        """All variables of the model, of whatever kind; none of a plain function."""
        if isinstance(self.model, keras.layers.Layer):
            return list(self.model.variables)
        return []

    @property
    def built(self) -> bool:
        """Whether the model has its variables."""
        is_layer = isinstance(self.model, keras.layers.Layer)
        return not is_layer or _backend.is_built(self.model)

    def run(self, x: Any) -> Any:
        """Return the model's outputs for the batch's `x`, in inference mode."""
        x = x if self.inputs is None else self.inputs(x)
        return self.model(x, training=False) if self._takes_training else self.model(x)

    def forward(
        self,
        x: Any,
        requests: Iterable[Any],
        *,
        state: Iterable[tuple[keras.Variable, Any]] = (),
        check_calls: bool = False,
    ) -> Recording:
        """Run the model once, without gradient and without effect on its variables.

        Args:
            x: The batch's inputs.
            requests: The `Output` and `Tap` objects to fetch from the result.
            state: Pairs of variables and their values, where these are not in place.
            check_calls: Whether to refuse taps inside of loops, see `recording`.

        Returns:
            The recording of the forward pass.
        """
        # Whatever the model updates while it runs (statistics, seeds, counters) goes
        # into the scope and is dropped with it.
        with (
            _backend.no_gradient(),
            keras.StatelessScope(state_mapping=state),
            recording(
                self.model, requests, side="teacher", check_calls=check_calls
            ) as record,
        ):
            record.output = self.run(x)
        return record


def _takes_training(function: Any) -> bool:
    try:
        return "training" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin has no signature
        return False
