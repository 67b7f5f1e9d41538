"""How much each branch counts, from the features that they share."""

from typing import Any

import keras
from keras import ops

from keras_kd.layers.normalization import MaskedBatchNormalization
from keras_kd.ops.positions import mean_over_positions
from keras_kd.ops.selection import kept_rows


@keras.saving.register_keras_serializable(package="keras_kd")
class Gate(keras.layers.Layer):
    """Gives one weight per branch: softmax(ReLU(norm(dense(pooled features)))).

    Args:
        branches: Number of weights.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> tuple(Gate(3)(np.ones((2, 8, 8, 4), "float32")).shape)
    (2, 3)

    Reference: Lan, Zhu and Gong, 2018, ONE, arXiv:1806.04606.
    """

    def __init__(self, branches: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.branches = branches

    def build(self, input_shape: Any) -> None:
        policy = {"dtype": self.dtype_policy}
        self.dense = keras.layers.Dense(self.branches, use_bias=False, **policy)
        self.dense.build((None, input_shape[-1]))
        self.normalization = MaskedBatchNormalization(**policy)
        self.normalization.build((None, self.branches))

    def call(
        self,
        features: Any,
        training: bool = False,
        mask: Any = None,
        included: Any = None,
    ) -> Any:
        """Return the weights `(batch, branches)` of features `(batch, ..., width)`.

        Args:
            features: The features.
            training: Whether the batch normalisation learns.
            mask: Keras mask of the positions, of shape `(batch, ...)`, or None.
            included: Tensor of shape `(batch,)`, 0 for an example that is left out of
                the statistics of the batch, whatever it holds; or None.
        """
        x = self.dense(kept_rows(included, mean_over_positions(features, mask)))
        x = self.normalization(x, training=training, included=included)
        return ops.softmax(ops.relu(x))

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Return None: there are no positions any more."""
        del inputs, previous_mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.branches)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "branches": self.branches}
