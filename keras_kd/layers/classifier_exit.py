"""A classifier on a stage inside a network."""

from typing import Any

import keras
from keras import ops

from keras_kd.layers.normalization import MaskedBatchNormalization
from keras_kd.ops.positions import mean_over_positions
from keras_kd.ops.selection import kept_rows


@keras.saving.register_keras_serializable(package="keras_kd")
class ClassifierExit(keras.layers.Layer):
    """Gives logits from the features of a stage.

    Images pass `reductions` separable 3×3 convolutions of stride 2, each followed by
    batch normalisation and a ReLU, so that an early stage, too, sees the whole image.
    Then all positions (of a sequence, too, without its padding) are averaged, and a
    dense layer follows; with `width`, a linear map to the exit's feature before it.

    Args:
        classes: Number of logits.
        reductions: Number of convolutions, on images only. Defaults to 0.
        width: Number of channels of the feature that the logits are made of. None for
            those of the stage. Defaults to None.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> layer = ClassifierExit(10, reductions=1)
    >>> tuple(layer(np.ones((2, 8, 8, 3), "float32")).shape)
    (2, 10)

    References: Hao et al., 2023, OFA-KD, arXiv:2310.19444; `width`: Zhang et al., 2019,
    be your own teacher, arXiv:1905.08094.
    """

    def __init__(
        self,
        classes: int,
        reductions: int = 0,
        width: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes, self.reductions, self.width = classes, reductions, width
        self.blocks: list[Any] = []

    def build(self, input_shape: Any) -> None:
        policy = {"dtype": self.dtype_policy}
        width = input_shape[-1]
        for _ in range(self.reductions if len(input_shape) == 4 else 0):
            convolution = keras.layers.SeparableConv2D(
                width,
                3,
                strides=2,
                padding="same",
                use_bias=False,
                data_format="channels_last",
                **policy,
            )
            normalization = MaskedBatchNormalization(**policy)
            for layer in (convolution, normalization):
                layer.build((None, None, None, width))
            self.blocks.append((convolution, normalization))
        self.widening: Any = None
        if self.width is not None:
            self.widening = keras.layers.Dense(self.width, **policy)
            self.widening.build((None, width))
            width = self.width
        self.classifier = keras.layers.Dense(self.classes, **policy)
        self.classifier.build((None, width))

    def call(
        self,
        features: Any,
        training: bool = False,
        return_feature: bool = False,
        mask: Any = None,
        included: Any = None,
    ) -> Any:
        """Return the logits of a stage.

        Args:
            features: Tensor of shape `(batch, ..., channels)`.
            training: Whether the batch normalisation learns.
            return_feature: Whether to return what the logits are made of, too.
            mask: Keras mask of the positions, of shape `(batch, ...)`, or None. That
                of an image that is reduced no longer fits, and is not used.
            included: Tensor of shape `(batch,)`, 0 for an example that is left out of
                the statistics of the batch, whatever it holds; or None.

        Returns:
            Tensor of shape `(batch, classes)`; with `return_feature` a pair of the
            feature, of shape `(batch, width)`, and the logits.
        """
        x = features if included is None else kept_rows(included, features)
        for convolution, normalization in self.blocks:
            x = normalization(convolution(x), training=training, included=included)
            x = ops.relu(x)
        feature = mean_over_positions(x, None if self.blocks else mask)
        if self.widening is not None:
            feature = self.widening(feature)
        logits = self.classifier(feature)
        return (feature, logits) if return_feature else logits

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Return None: there are no positions any more."""
        del inputs, previous_mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "classes": self.classes,
            "reductions": self.reductions,
            "width": self.width,
        }
