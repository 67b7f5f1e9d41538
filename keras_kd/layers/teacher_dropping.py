"""A random choice among several teachers."""

from typing import Any

import keras
from keras import ops

from keras_kd.ops.kept_teachers import kept_teachers


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherDropping(keras.layers.Layer):
    """Draws which teachers count for an example, see `keras_kd.ops.kept_teachers`.

    Args:
        seed: Seed of the draws, or None.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> layer = TeacherDropping(seed=0)
    >>> layer.build()
    >>> [float(kept) for kept in layer(np.array([[3.0], [1.0]]))[:, 0]]
    [1.0, 1.0]
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = seed
        self.random = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any = None) -> None:
        del input_shape
        self.built = True

    def call(self, losses: Any, drop_rate: Any = 0.5, training: bool = False) -> Any:
        """Return 1 or 0 for each loss `(teachers, ...)`; in evaluation always 1."""
        if not training:
            return ops.ones_like(losses)
        draws = keras.random.uniform(ops.shape(losses), seed=self.random)
        return kept_teachers(losses, draws, drop_rate=drop_rate)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
