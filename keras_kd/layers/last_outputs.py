"""The outputs for the examples of the batch before."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_kd")
class LastOutputs(keras.layers.Layer):
    """Keeps the sample ids and the outputs of one batch until the next.

    Under several replicas all of them read what the first one has stored.

    Args:
        rows: Number of outputs that are kept. Of a larger batch the last ones are, and
            a smaller one leaves rows empty.
        row_shape: Shape of one output, without the batch axis.
        **kwargs: Those of `keras.layers.Layer`.

    Example:
    >>> last = LastOutputs(4, (2,))
    >>> last.build()
    >>> last.update(np.array([5, 8]), np.ones((2, 2)), np.ones((2,)))
    >>> outputs, found = last.lookup(np.array([8, 9]))
    >>> [bool(f) for f in found]
    [True, False]
    """

    def __init__(self, rows: int, row_shape: Any, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.rows, self.row_shape = rows, tuple(row_shape)

    def build(self, input_shape: Any = None) -> None:
        del input_shape
        # Ids cannot be averaged over replicas.
        shared = {"trainable": False, "aggregation": "only_first_replica"}
        self.ids = self.add_weight(
            shape=(self.rows,),
            initializer=keras.initializers.Constant(-1),
            dtype="int32",
            name="ids",
            **shared,
        )
        self.outputs = self.add_weight(
            shape=(self.rows, *self.row_shape),
            initializer="zeros",
            name="outputs",
            **shared,
        )
        self.built = True

    def lookup(self, ids: Any) -> tuple[Any, Any]:
        """Return the stored outputs for some examples.

        Args:
            ids: Integer tensor of shape `(batch,)`.

        Returns:
            A pair: the outputs, of shape `(batch, ...)`, and whether there was one, of
            shape `(batch,)`. An id below 0 is never found.
        """
        ids = ops.expand_dims(ops.cast(ids, "int32"), 1)
        stored = ops.expand_dims(ops.convert_to_tensor(self.ids), 0)
        match = ops.logical_and(ops.equal(ids, stored), ids >= 0)
        row = ops.argmax(ops.cast(match, "int32"), axis=1)
        outputs = ops.take(ops.convert_to_tensor(self.outputs), row, axis=0)
        return outputs, ops.any(match, axis=1)

    def update(self, ids: Any, outputs: Any, kept: Any) -> None:
        """Store the outputs for a batch in place of those before.

        Args:
            ids: Integer tensor of shape `(batch,)`.
            outputs: Tensor of shape `(batch, ...)`.
            kept: Tensor of shape `(batch,)`, 0 for an example that is not stored.
        """
        ids = ops.where(ops.equal(kept, 0), -1, ops.cast(ids, "int32"))
        outputs = ops.stop_gradient(ops.cast(outputs, "float32"))
        empty = ops.full((self.rows,), -1, dtype="int32")
        blank = ops.zeros((self.rows, *self.row_shape), dtype="float32")
        ids = ops.concatenate([empty, ids], axis=0)[-self.rows :]
        outputs = ops.concatenate([blank, outputs], axis=0)[-self.rows :]
        # The size is lost where the batch's is unknown when the step is traced.
        self.ids.assign(ops.reshape(ids, (self.rows,)))
        self.outputs.assign(ops.reshape(outputs, (self.rows, *self.row_shape)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rows": self.rows,
            "row_shape": list(self.row_shape),
        }
