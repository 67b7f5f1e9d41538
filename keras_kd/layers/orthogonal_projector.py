"""A projector that keeps all angles."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_kd")
class OrthogonalProjector(keras.layers.Layer):
    """Maps features linearly by a matrix whose rows, or columns, are orthonormal.

    W is the upper left part of the Cayley transform (I + A)⁻¹ (I − A) of a trained
    skew-symmetric A, so it stays orthonormal whatever the optimiser does. It cannot
    learn what the student should: distances pass through it unchanged.

    Args:
        width: Number of channels to map to.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> layer = OrthogonalProjector(3)
    >>> x = np.array([[3.0, 4.0]], "float32")
    >>> round(float(np.linalg.norm(keras.ops.convert_to_numpy(layer(x)))), 3)
    5.0

    Reference: Miles et al., 2024, VkD, arXiv:2403.06213, which takes the matrix
    exponential of A.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        # In half precision the rows would not stay orthonormal.
        super().__init__(**{"dtype": "float32", **kwargs})
        self.width = width

    def build(self, input_shape: Any) -> None:
        size = max(self.width, input_shape[-1])
        self.given = input_shape[-1]
        self.weights_of_a = self.add_weight(
            shape=(size, size),
            initializer=keras.initializers.RandomNormal(stddev=size**-0.5),
            name="skew",
        )

    def matrix(self) -> Any:
        """Return W, of shape `(student's width, self.width)`."""
        free = ops.convert_to_tensor(self.weights_of_a)
        skew = free - ops.transpose(free)
        identity = ops.eye(skew.shape[0], dtype=skew.dtype)
        orthogonal = ops.solve(identity + skew, identity - skew)
        return orthogonal[: self.given, : self.width]

    def call(self, features: Any) -> Any:
        """Return features of shape `(batch, ..., self.width)`."""
        return ops.matmul(features, self.matrix())

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}
