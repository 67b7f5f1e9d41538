"""Data that a recipe divides or shares, and models that have to fit them."""

from typing import Any

import keras
import numpy as np

from keras_kd.recipes.chains import Build
from keras_kd.recipes.rehearsal import check_student


def logits_of_one(build: Build, data: Any, build_name: str, data_name: str) -> int:
    """Return the number of logits that a model gives for one row of data.

    Args:
        build: Returns a new, built model.
        data: Inputs, arrays.
        build_name: What the caller calls `build` in messages.
        data_name: What the caller calls `data` in messages.

    Raises:
        ValueError: If the model does not take the data, or does not give one vector of
            logits a row.
    """
    model = build()
    check_student(model, build_name)
    try:
        shape = tuple(model(rows_of(data, slice(1)), training=False).shape)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{build_name}` must return a model that takes `{data_name}`. Received: "
            f"{model.name!r}, which raised on its first row: {error}"
        ) from error
    if len(shape) != 2:
        raise ValueError(
            f"`{build_name}` must return a model with one output of shape `(batch, "
            f"classes)`. Received: an output of shape {shape}."
        )
    return int(shape[1])


def rows_of(arrays: Any, rows: Any) -> Any:
    """Return some rows of each array of a structure."""
    return keras.tree.map_structure(
        lambda array: None if array is None else _as_array(array)[rows], arrays
    )


def joined(parts: list[Any]) -> Any:
    """Return the rows of several structures of arrays, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return keras.tree.map_structure(
        lambda *arrays: np.concatenate([_as_array(array) for array in arrays]), *parts
    )


def _as_array(array: Any) -> np.ndarray:
    is_tensor = keras.ops.is_tensor(array)
    return np.asarray(keras.ops.convert_to_numpy(array) if is_tensor else array)
