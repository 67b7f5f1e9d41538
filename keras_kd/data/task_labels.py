"""What the task loss says of labels: which it ignores, and which it cannot have."""

from typing import Any

import keras
import numpy as np
from keras import ops


def task_counts(loss: Any, y: Any, sample_weight: Any) -> Any:
    """Return the weights with 0 where the task loss ignores the label's class.

    Args:
        loss: The task loss as `compile` was given it, one or a structure.
        y: The labels, in the structure of the outputs, or None.
        sample_weight: The weights, or None.

    Returns:
        The weights for distillation: what the task ignores teaches nothing either.
    """
    if y is None:
        return sample_weight
    if isinstance(y, (list, tuple)):
        if all(one is y[0] for one in y) and not keras.tree.is_nested(sample_weight):
            # The same labels for each of several students.
            first = loss[0] if isinstance(loss, (list, tuple)) else loss
            return task_counts(first, y[0], sample_weight)
        losses = loss if isinstance(loss, (list, tuple)) else [loss] * len(y)
        several = isinstance(sample_weight, (list, tuple))
        weights = sample_weight if several else [sample_weight] * len(y)
        parts = [task_counts(*part) for part in zip(losses, y, weights, strict=True)]
        same = all(new is old for new, old in zip(parts, weights, strict=True))
        return sample_weight if same else parts
    if isinstance(y, dict) and not isinstance(loss, dict):
        loss = dict.fromkeys(y, loss)
    if isinstance(loss, dict) and isinstance(y, dict):
        each = sample_weight if isinstance(sample_weight, dict) else {}
        counted = {key: task_counts(loss.get(key), y[key], each.get(key)) for key in y}
        some = any(counted[key] is not each.get(key) for key in y)
        return counted if some else sample_weight
    ignored = getattr(loss, "ignore_class", None)
    if ignored is None or keras.tree.is_nested(y):
        return sample_weight
    labels = ops.squeeze(y, -1) if len(y.shape) > 1 and y.shape[-1] == 1 else y
    # In int32, because unsigned labels have no -1 to be compared with.
    counts = ops.not_equal(ops.cast(labels, "int32"), int(ignored))
    if sample_weight is None:
        return ops.cast(counts, "float32")
    weight = ops.cast(sample_weight, "float32")
    missing = len(counts.shape) - len(weight.shape)
    if missing > 0:
        weight = ops.reshape(weight, (*ops.shape(weight), *(1,) * missing))
    # Selected, because a weight may be anything where nothing counts.
    return ops.where(counts, weight, ops.zeros_like(weight))


def check_task_labels(loss: Any, y: Any, y_pred: Any) -> None:
    """Raise where integer labels name classes that the student does not have.

    Args:
        loss: The task loss as `compile` was given it.
        y: The labels, or None.
        y_pred: The student's outputs.

    Raises:
        ValueError: If they do.
    """
    if keras.tree.is_nested(y):
        _check_each(loss, y, y_pred)
        return
    sparse = loss in (
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
    ) or isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
    if y is None or not sparse or y_pred is None or keras.tree.is_nested(y_pred):
        return
    labels = np.asarray(ops.convert_to_numpy(y))
    classes = y_pred.shape[-1]
    ignored = getattr(loss, "ignore_class", None)
    labels = labels[labels != ignored] if ignored is not None else labels
    if labels.size and (np.min(labels) < 0 or np.max(labels) >= classes):
        raise ValueError(
            f"`y` must hold classes from 0 to {classes - 1}, as many as the student "
            f"has outputs. Received: labels from {np.min(labels)} to {np.max(labels)}."
        )


def _check_each(loss: Any, y: Any, y_pred: Any) -> None:
    """Check the labels of each output, where they come in one structure."""
    if isinstance(y, dict) and isinstance(y_pred, dict):
        for key in y:
            of_key = loss.get(key) if isinstance(loss, dict) else loss
            check_task_labels(of_key, y[key], y_pred.get(key))
    elif isinstance(y, (list, tuple)) and isinstance(y_pred, (list, tuple)):
        losses = loss if isinstance(loss, (list, tuple)) else [loss] * len(y)
        for part in zip(losses, y, y_pred, strict=False):
            check_task_labels(*part)
