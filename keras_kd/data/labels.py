"""The class of each example, in whichever form the labels come."""

from typing import Any

import numpy as np


def class_indices(y: Any, argument: str = "`y`") -> np.ndarray:
    """Return the class of each example.

    Args:
        y: Class indices of shape `(count,)` or `(count, 1)`, or one value per class of
            shape `(count, classes)`, of which the largest counts.
        argument: What messages call the labels.

    Returns:
        Integer array of shape `(count,)`.

    Raises:
        ValueError: If `y` has another shape, or indices that are no whole numbers.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return labels.argmax(axis=1)
    whole = labels.dtype.kind in "biuf" and bool(np.all(labels == np.floor(labels)))
    if labels.shape not in ((len(labels),), (len(labels), 1)) or not whole:
        raise ValueError(
            f"{argument} must hold one class index per example, of shape (count,) or "
            "(count, 1), or one value per class, of shape (count, classes). Received: "
            f"{argument} of shape {labels.shape} and dtype {labels.dtype}."
        )
    return labels.reshape(-1).astype("int64")


def labels_like(form: Any, indices: np.ndarray, classes: int) -> np.ndarray:
    """Return class indices in the form of given labels.

    Args:
        form: Labels in the form that is wanted, see `class_indices`.
        indices: Class indices of shape `(count,)`.
        classes: The number of classes, of one-hot labels.

    Returns:
        Array of shape `(count,)`, `(count, 1)` or `(count, classes)`.
    """
    shape = np.shape(form)
    if len(shape) == 2 and shape[1] > 1:
        return np.eye(classes, dtype="float32")[indices]
    labels = indices.astype("int32")
    return labels[:, None] if len(shape) == 2 else labels
