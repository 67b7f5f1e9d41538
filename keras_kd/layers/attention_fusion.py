"""Fusing the features of two levels."""

from typing import Any

import keras
from keras import ops

from keras_kd.layers.normalization import MaskedBatchNormalization
from keras_kd.ops.resize import nearest_neighbours

LAST = "channels_last"


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionFusion(keras.layers.Layer):
    """Fuses a level's features with those of the level above, by learned gates.

    x = BN(1×1 convolution(features)); with features from above, enlarged to the same
    size: x = g₀ · x + g₁ · above, where the two gates are the sigmoid of a 1×1
    convolution of both. Returns x, for the level below, and BN(3×3 convolution(x)),
    to be compared with the teacher.

    Args:
        width: Number of channels that are passed from level to level.
        out_width: Number of channels of the second result, the teacher's.
        fuses: Whether features from above are taken.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> layer = AttentionFusion(4, 6, fuses=False)
    >>> x, out = layer(np.ones((1, 8, 8, 3), "float32"))
    >>> tuple(x.shape), tuple(out.shape)
    ((1, 8, 8, 4), (1, 8, 8, 6))

    Reference: Chen et al., 2021, ReviewKD, arXiv:2104.09044.
    """

    def __init__(
        self, width: int, out_width: int, fuses: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.width, self.out_width, self.fuses = width, out_width, fuses
        layers = keras.layers
        policy = {"dtype": self.dtype_policy}
        self.entry = layers.Dense(width, use_bias=False, **policy)
        self.entry_normalization = MaskedBatchNormalization(**policy)
        self.gates = layers.Dense(2, activation="sigmoid", **policy) if fuses else None
        self.exit = layers.Conv2D(
            out_width, 3, padding="same", use_bias=False, data_format=LAST, **policy
        )
        self.exit_normalization = MaskedBatchNormalization(**policy)

    def build(self, input_shape: Any) -> None:
        inner = (None, *input_shape[1:3], self.width)
        self.entry.build(input_shape)
        self.entry_normalization.build(inner)
        if self.gates is not None:
            self.gates.build((*inner[:3], 2 * self.width))
        self.exit.build(inner)
        self.exit_normalization.build((*inner[:3], self.out_width))

    def call(
        self,
        features: Any,
        above: Any = None,
        training: bool = False,
        included: Any = None,
    ) -> Any:
        """Return both results.

        Args:
            features: Tensor of shape `(batch, height, width, channels)`.
            above: Tensor of shape `(batch, smaller, smaller, self.width)`, or None.
            training: Whether the batch normalisations train.
            included: Tensor of shape `(batch,)`, 0 for an example that is left out of
                the statistics of the batch; or None.

        Returns:
            Tensors of shape `(batch, height, width, self.width)` and
            `(batch, height, width, self.out_width)`.
        """
        how = {"training": training, "included": included}
        x = self.entry_normalization(self.entry(features), **how)
        if above is not None and self.gates is not None:
            above = nearest_neighbours(above, ops.shape(x)[1:3])
            gates = self.gates(ops.concatenate([x, above], axis=-1))
            x = gates[..., :1] * x + gates[..., 1:] * above
        return x, self.exit_normalization(self.exit(x), **how)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "out_width": self.out_width,
            "fuses": self.fuses,
        }
