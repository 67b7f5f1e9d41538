"""What a loss learns of each channel."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.ops.selection import kept_rows


@keras.saving.register_keras_serializable(package="keras_kd")
class ChannelVariance(keras.layers.Layer):
    """Returns softplus(a) + ε with one trainable number a for each channel.

    Args:
        initial_variance: The first value, above ε. Defaults to 5.0.
        epsilon: Positive number ε. Defaults to 1e-5.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> variance = ChannelVariance()(np.zeros((1, 3)))
    >>> round(float(keras.ops.convert_to_numpy(variance)[0]), 4)
    5.0
    """

    def __init__(
        self, initial_variance: float = 5.0, epsilon: float = 1e-5, **kwargs: Any
    ) -> None:
        # In half precision ε would vanish.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.initial_variance = initial_variance
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        start = math.log(math.expm1(self.initial_variance - self.epsilon))
        self.a = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(start),
            name="a",
        )

    def call(self, features: Any) -> Any:
        """Return the variances `(channels,)`, whatever the features."""
        del features
        return ops.softplus(self.a) + self.epsilon

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initial_variance": self.initial_variance,
            "epsilon": self.epsilon,
        }


@keras.saving.register_keras_serializable(package="keras_kd")
class NegativeMean(keras.layers.Layer):
    """Returns the mean of the negative values of each channel, over all batches so far.

    Only calls with `training=True` are counted. Before the first of them it returns
    the mean of the batch at hand; a channel without negative values has the mean 0.

    Example:
    >>> mean = NegativeMean()(np.array([[-1.0, 2.0], [-3.0, 4.0]]))
    >>> [float(value) for value in keras.ops.convert_to_numpy(mean)]
    [-2.0, 0.0]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: Any) -> None:
        def state(name: str) -> Any:
            return self.add_weight(
                shape=(input_shape[-1],),
                initializer="zeros",
                trainable=False,
                name=name,
            )

        self.total, self.count = state("total"), state("count")

    def call(self, features: Any, training: bool = False, included: Any = None) -> Any:
        """Return the means `(channels,)` of features `(batch, ..., channels)`.

        Args:
            features: The features.
            training: Whether they are counted.
            included: Tensor of shape `(batch,)`, 0 for an example that is left out, or
                None.
        """
        features = kept_rows(included, features)
        axes = tuple(range(len(features.shape) - 1))
        negative = features < 0.0
        total = ops.sum(ops.where(negative, features, 0.0), axis=axes)
        count = ops.sum(ops.cast(negative, "float32"), axis=axes)
        seen = self.count + (count if training else 0.0)
        summed = self.total + (total if training else 0.0)
        if training:
            self.total.assign(summed)
            self.count.assign(seen)
        is_new = ops.logical_and(seen == 0.0, count > 0.0)
        return ops.where(
            is_new, ops.divide_no_nan(total, count), ops.divide_no_nan(summed, seen)
        )
