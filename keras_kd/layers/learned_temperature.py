"""A temperature that trains."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_kd")
class LearnedTemperature(keras.layers.Layer):
    """Returns minimum + span · sigmoid(θ) with one trainable number θ.

    Called with a strength λ, it passes −λ times the gradient to θ: where the optimiser
    lowers the loss, θ raises it.

    Args:
        minimum: Positive number, the lower bound.
        span: Positive number, the upper bound minus the lower.
        initial_theta: The first θ. Defaults to 1.0.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> layer = LearnedTemperature(1.0, 20.0, initial_theta=0.0)
    >>> float(keras.ops.convert_to_numpy(layer(np.array(1.0))))
    11.0
    """

    def __init__(
        self, minimum: float, span: float, initial_theta: float = 1.0, **kwargs: Any
    ) -> None:
        # In half precision a temperature would move in steps of a hundredth.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.minimum = minimum
        self.span = span
        self.initial_theta = initial_theta

    def build(self, input_shape: Any) -> None:
        del input_shape
        self.theta = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.initial_theta),
            name="theta",
        )

    def call(self, strength: Any) -> Any:
        """Return the temperature.

        Args:
            strength: Scalar tensor, how much of the gradient is passed on, reversed: λ.

        Returns:
            Scalar tensor, float32.
        """
        temperature = self.minimum + self.span * ops.sigmoid(self.theta)
        # The value of T; the gradient of −λ T.
        return ops.stop_gradient((1.0 + strength) * temperature) - (
            strength * temperature
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "minimum": self.minimum,
            "span": self.span,
            "initial_theta": self.initial_theta,
        }
