"""Batch normalisation that leaves examples out."""

from typing import Any

import keras
from keras import ops

from keras_kd.ops.selection import kept_rows


@keras.saving.register_keras_serializable(package="keras_kd")
class MaskedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis, without some examples.

    Args:
        **kwargs: Those of `keras.layers.BatchNormalization`.

    Example:
    >>> layer = MaskedBatchNormalization()
    >>> x = np.array([[1.0], [3.0], [999.0]])
    >>> made = layer(x, training=True, included=np.array([1.0, 1.0, 0.0]))
    >>> [round(float(value), 2) for value in keras.ops.convert_to_numpy(made)[:2, 0]]
    [-1.0, 1.0]
    """

    def call(self, x: Any, training: bool = False, included: Any = None) -> Any:
        """Return normalised features.

        Args:
            x: Tensor of shape `(batch, ..., channels)`.
            training: Whether the statistics are those of the batch, and learn.
            included: Tensor of shape `(batch,)`, 0 for an example that is left out of
                the statistics; or None.
        """
        if included is None or not (training and self.trainable):
            return super().call(x, training=training)
        # Keras's own `mask` fails at one channel, and learns from a batch of nothing.
        axes = tuple(range(len(x.shape) - 1))
        total = ops.sum(kept_rows(included, ops.ones_like(x[..., :1])))
        count = ops.maximum(total, 1.0)
        mean = ops.sum(kept_rows(included, x), axis=axes) / count
        squares = ops.square(kept_rows(included, ops.cast(x, "float32") - mean))
        variance = ops.sum(squares, axis=axes) / count
        share = ops.where(total > 0.0, 1.0 - self.momentum, 0.0)
        for moving, now in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            old = ops.cast(moving, "float32")
            moving.assign(old + share * (now - old))
        made = ops.batch_normalization(
            ops.cast(x, "float32"),
            mean,
            variance,
            axis=-1,
            offset=self.beta,
            scale=self.gamma,
            epsilon=self.epsilon,
        )
        return ops.cast(made, x.dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Return None: which examples count is no Keras mask."""
        del inputs, previous_mask
