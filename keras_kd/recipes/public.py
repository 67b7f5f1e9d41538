"""Public data that students answer, in recipes whose private data stay apart."""

from typing import Any

import keras
import numpy as np

from keras_kd.recipes.chains import Build
from keras_kd.recipes.run import check_student


def answers_of(build: Build, public: Any, argument: str) -> tuple[int, ...]:
    """Return the shape of a model's answer to one row of the public data.

    Args:
        build: Returns a new, built model.
        public: Inputs, arrays.
        argument: What the caller calls `build` in messages.

    Raises:
        ValueError: The model cannot answer, or not by one vector of logits a row.
    """
    model = build()
    check_student(model, argument)
    row = rows_of(public, slice(1))
    try:
        answer = model(row, training=False)
        shape = tuple(answer.shape)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{argument}` must return a model that answers `public`. Received: "
            f"{model.name!r}, which raised on its first row: {error}"
        ) from error
    if len(shape) != 2:
        raise ValueError(
            f"`{argument}` must return a model with one output of shape `(batch, "
            f"classes)`. Received: an output of shape {shape}."
        )
    return shape


def labels_like(labels: Any, classes: np.ndarray, count: int) -> np.ndarray:
    """Return class indices in the form of given labels: one-hot, or integers.

    Args:
        labels: Labels in the form that is wanted.
        classes: Class indices of shape `(rows,)`.
        count: The number of classes.
    """
    shape = np.shape(labels)
    if len(shape) == 2 and shape[1] > 1:
        return np.eye(count, dtype="float32")[classes]
    return classes.astype("int32")


def rows_of(arrays: Any, rows: Any) -> Any:
    """Return some rows of each array of a structure."""
    return keras.tree.map_structure(
        lambda array: None if array is None else np.asarray(array)[rows], arrays
    )
