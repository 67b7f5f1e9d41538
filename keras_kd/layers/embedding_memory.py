"""The embeddings of a whole data set."""

from typing import Any

import keras
from keras import ops

from keras_kd.ops.selection import kept_rows, unit_vectors


@keras.saving.register_keras_serializable(package="keras_kd")
class EmbeddingMemory(keras.layers.Layer):
    """Keeps one unit vector per example for the teacher and one for the student.

    Args:
        num_examples: Number of examples.
        size: Length of the vectors.
        seed: Seed of the first vectors and of the negatives, or None.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> memory = EmbeddingMemory(10, 4, seed=0)
    >>> memory.build()
    >>> positives, negatives = memory.lookup(np.array([1, 2]), 3)
    >>> tuple(positives[0].shape), tuple(negatives[0].shape)
    ((2, 4), (3, 4))
    """

    def __init__(
        self, num_examples: int, size: int, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_examples, self.size, self.seed = num_examples, size, seed
        self.random = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any = None) -> None:
        del input_shape

        def bank(side: str) -> Any:
            # Of the length of a unit vector, on average, as the authors begin.
            limit = (3.0 / self.size) ** 0.5
            return self.add_weight(
                shape=(self.num_examples, self.size),
                initializer=keras.initializers.RandomUniform(-limit, limit, self.seed),
                trainable=False,
                name=f"{side}_bank",
            )

        self.banks = [bank("teacher"), bank("student")]
        # Z of each side's scores; 0 until the first batch.
        self.normalizers = [
            self.add_weight(
                shape=(), initializer="zeros", trainable=False, name=f"normalizer_{n}"
            )
            for n in range(2)
        ]
        self.built = True

    def lookup(
        self, ids: Any, count: int, training: bool = False
    ) -> tuple[list[Any], list[Any]]:
        """Return the stored vectors of some examples, and of random others.

        Args:
            ids: Integer tensor of shape `(batch,)`.
            count: Number of random examples.
            training: Whether to draw new ones; in evaluation they are always the same.

        Returns:
            Two lists, the teacher's and the student's vectors: of shape
            `(batch, size)` and of shape `(count, size)`.
        """
        seed = self.random if training else 0
        others = keras.random.randint((count,), 0, self.num_examples, seed=seed)
        banks = [ops.convert_to_tensor(bank) for bank in self.banks]
        positives = [ops.take(bank, ids, axis=0) for bank in banks]
        negatives = [ops.take(bank, others, axis=0) for bank in banks]
        return positives, negatives

    def update(
        self,
        ids: Any,
        vectors: list[Any],
        normalizers: list[Any],
        kept: Any,
        *,
        momentum: float,
    ) -> None:
        """Store what a batch has seen.

        Args:
            ids: Integer tensor of shape `(batch,)`.
            vectors: The teacher's and the student's unit vectors.
            normalizers: The scalars Z that were used.
            kept: Tensor of shape `(batch,)`, 0 for an example that is not stored.
            momentum: The share of the old vector.
        """
        ids = ops.cast(ids, "int32")
        is_kept = ops.cast(kept > 0.0, "int32")
        # What is not stored repeats the first that is: its number may stand in the
        # batch once more, and writes to one place have no order.
        places = ops.cumsum(ops.ones_like(ids)) - 1
        first = ops.cast(ops.argmax(is_kept), "int32")
        source = ops.where(is_kept > 0, places, first)
        places = ops.expand_dims(ops.take(ids, source), -1)
        for bank, new, variable, z in zip(
            self.banks, vectors, self.normalizers, normalizers, strict=True
        ):
            stored = ops.convert_to_tensor(bank)
            old = ops.take(stored, ids, axis=0)
            new = kept_rows(kept, ops.stop_gradient(new))
            mixed = unit_vectors(momentum * old + (1.0 - momentum) * new)
            rows = ops.where(ops.expand_dims(kept, -1) > 0.0, mixed, old)
            rows = ops.take(rows, source, axis=0)
            bank.assign(ops.scatter_update(stored, places, rows))
            variable.assign(z)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_examples": self.num_examples,
            "size": self.size,
            "seed": self.seed,
        }
