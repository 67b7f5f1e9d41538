"""Checks of what a user gives to train on, in words that say what to do."""

from typing import Any

import keras
import numpy as np

from keras_kd import _backend


def check_inputs(x: Any) -> None:
    """Raise where `x` is empty or text; data sets and generators pass.

    Raises:
        ValueError: If it is.
    """
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if not leaves:
        raise ValueError(f"`x` must hold at least one array. Received: x={x!r}")
    for leaf in leaves:
        dtype = getattr(leaf, "dtype", None)
        columns = _text_columns(leaf)
        is_text = isinstance(leaf, str) or getattr(dtype, "kind", " ") in "USO"
        if columns or (is_text and not _is_tensorflow_text(leaf)):
            received = (
                f"columns {columns} with text" if columns else "strings or objects"
            )
            raise ValueError(
                f"`x` must be numeric. Received: {received}, "
                f"dtype={dtype or type(leaf).__name__}. Tokenise it in the data "
                f"pipeline. {_WAY_OUT_OF_TEXT}"
            )
        shape = tuple(getattr(leaf, "shape", None) or ())
        if shape and shape[0] == 0:
            raise ValueError(
                "`x` must hold at least one example. Received: an empty batch, of "
                f"shape {shape}."
            )


# What Keras itself takes where a model holds its own `TextVectorization`.
_WAY_OUT_OF_TEXT = (
    "Where the models hold their own `TextVectorization`, Keras takes text as a "
    "one-dimensional array of objects: `x.astype(object)`, for a column of a DataFrame "
    "`x[column].to_numpy(object)`."
    if _backend.BACKEND == "tensorflow"
    else "No tensor of this backend holds text: apply the models' `TextVectorization` "
    "in a `tf.data.Dataset`, as `dataset.map(lambda x, y: (vectorize(x), y))`, and "
    "give the Distiller the models without it."
)


def _text_columns(leaf: Any) -> list[Any]:
    """List the columns of a pandas DataFrame that hold no numbers."""
    if not hasattr(leaf, "columns") or not hasattr(leaf, "dtypes"):
        return []
    pairs = zip(leaf.columns, leaf.dtypes, strict=True)
    return [name for name, dtype in pairs if getattr(dtype, "kind", "O") in "USO"]


def _is_tensorflow_text(leaf: Any) -> bool:
    """Say whether Keras makes a string tensor of it, which layers may take."""
    is_array = isinstance(leaf, np.ndarray) and leaf.ndim == 1
    if _backend.BACKEND != "tensorflow" or not is_array:
        return False
    return bool(leaf.dtype.kind == "O") and all(isinstance(e, str) for e in leaf)


def check_sample_weights(name: str, x: Any, sample_weight: Any) -> None:
    """Raise where there are more or fewer weights than examples.

    Args:
        name: The name of a loss, for the message.
        x: The batch's inputs.
        sample_weight: Its weights, or None.

    Raises:
        ValueError: If there are.
    """
    count = next(v.shape[0] for v in keras.tree.flatten(x) if v is not None)
    for weight in keras.tree.flatten(sample_weight):
        if weight is not None and len(weight.shape) and weight.shape[0] != count:
            raise ValueError(
                f"The weights and masks of {name} must have its batch size and "
                f"length. Received: a weight of shape {tuple(weight.shape)} for "
                f"values of shape {(count,)}."
            )
