"""What the `call` of a loss returns: values, and which of them are valid."""

from typing import Any

import keras
import numpy as np
from keras import ops


def values_and_valid(given: Any) -> tuple[list[Any], list[Any]]:
    """Return the values that a loss's `call` gave, and for each which are valid.

    Args:
        given: Values, or `(values, valid)`.

    Returns:
        Two flat lists of one length; None for "all are valid".
    """
    values, valid = given, None
    if isinstance(given, tuple) and len(given) == 2:
        marks = [mark for mark in keras.tree.flatten(given[1]) if mark is not None]
        if marks and all(_is_boolean(mark) for mark in marks):
            values, valid = given
    flat = keras.tree.flatten(values)
    if valid is None:
        return flat, [None] * len(flat)
    flat_valid = keras.tree.flatten(valid)
    if len(flat_valid) != len(flat):
        raise ValueError(
            "`call` must return `(values, valid)` of one structure. Received: "
            f"{len(flat)} tensors of values and {len(flat_valid)} of valid."
        )
    return flat, flat_valid


def mean_of_valid(values: Any, valid: Any) -> Any:
    """Return the mean of the values that are valid, 0 where none is."""
    counts = ops.cast(ops.broadcast_to(valid, ops.shape(values)), "float32")
    kept = ops.where(counts > 0.0, ops.cast(values, "float32"), 0.0)
    return ops.divide_no_nan(ops.sum(kept), ops.sum(counts))


def _is_boolean(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and keras.backend.standardize_dtype(dtype) == "bool"


def check_values(loss: Any, values: Any, batch: Any) -> None:
    """Raise where a loss returned something that cannot be averaged.

    Args:
        loss: The loss.
        values: What its `call` returned.
        batch: The number of examples, where it is known.

    Raises:
        ValueError: It returned no tensor at all, something else beside, or a tensor
            whose first axis is not the batch.
    """
    flat = [value for value in values_and_valid(values)[0] if value is not None]
    numbers = (float, np.ndarray, np.floating)
    if not flat or not all(ops.is_tensor(v) or isinstance(v, numbers) for v in flat):
        raise ValueError(
            f"`{type(loss).__name__}.call` must return a tensor with one value per "
            f"example or token, or a list or dict of these. Received: {values!r}"
        )
    shapes = [tuple(np.shape(value)) for value in flat]
    firsts = [shape[0] for shape in shapes if shape]
    if isinstance(batch, int) and any(f not in (batch, None) for f in firsts):
        raise ValueError(
            f"`{type(loss).__name__}.call` must return values whose first axis is the "
            f"batch, of {batch} examples. Received: shapes {shapes}. Average over the "
            "other axes only."
        )
