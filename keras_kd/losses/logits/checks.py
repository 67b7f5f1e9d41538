"""Checks that the outputs to compare are logits of the same classes."""

from typing import Any

import numpy as np
from keras import ops

# Rounding of float16 and bfloat16 outputs adds up over the classes.
_ROUNDING = 1e-2
# What to use where a loss on classes is given an output that has none.
NO_CLASSES = (
    "For one sigmoid output use `LogitsDistillation(loss='binary_kl_divergence')`, for "
    "a regression `LogitsDistillation(loss='mse')`."
)
# An output `(batch,)` has nothing to average over but the batch.
NO_LAST_AXIS = (
    "An output `(batch,)` lacks the last axis: end the model in "
    "`keras.layers.Reshape((1,))`."
)


def check_same_classes(
    teacher: Any, student: Any, *, minimum: int, loss_name: str, remedy: str
) -> None:
    """Raise where two specs of logits do not stand for the same classes.

    Raises:
        ValueError: If the shapes differ, or there are fewer classes than `minimum`.
    """
    pair = f"teacher {tuple(teacher.shape)}, student {tuple(student.shape)}"
    ranks = {len(teacher.shape), len(student.shape)}
    if len(ranks) > 1 or min(ranks) < 2:
        advice = (
            NO_LAST_AXIS
            if min(ranks) < 2
            else "Select the outputs to compare by `output=`, or compare features by "
            "`FeatureDistillation`."
        )
        raise ValueError(
            f"{loss_name} compares outputs of one rank, `(batch, ..., classes)`. "
            f"Received: {pair}. {advice}"
        )
    pairs = list(zip(teacher.shape[1:], student.shape[1:], strict=True))
    differs = [None not in sizes and sizes[0] != sizes[1] for sizes in pairs]
    if any(differs):
        advice = (
            "Teacher and student must have the same classes in the same order; slice "
            "or map the teacher's in a wrapper layer."
        )
        if not differs[-1]:
            advice = (
                "They differ in resolution: bring both to one size, by "
                "`keras.layers.Resizing` in a model around one of them."
                if len(pairs) == 3
                else "They differ in length: give both models the same tokens."
            )
        raise ValueError(
            f"{loss_name} compares outputs of one shape after the batch axis. "
            f"Received: {pair}. {advice}"
        )
    if student.shape[-1] is not None and student.shape[-1] < minimum:
        raise ValueError(
            f"{loss_name} needs at least {minimum} classes on the last axis. "
            f"Received: {pair}. {remedy}"
        )


def check_finite(values: Any, *, side: str, loss_name: str) -> None:
    """Raise where the first batch holds a value that is not a number.

    -inf is a legal logit: it leaves a class out.

    Raises:
        ValueError: If it does.
    """
    array = ops.convert_to_numpy(ops.cast(values, "float32"))
    wrong = np.isnan(array) | (array == np.inf)
    if wrong.any():
        raise ValueError(
            f"The {side}'s signal for {loss_name} must be finite. Received: "
            f"{int(wrong.sum())} of {array.size} values of the first batch are NaN or "
            f"inf. Check the {side}'s weights, its input range and its preprocessing "
            f"(`{side}_inputs=`)."
        )


def check_not_probabilities(
    values: Any, *, side: str, binary: bool, loss_name: str, remedy: str = ""
) -> None:
    """Raise where the first batch looks like the output of a softmax or a sigmoid.

    Args:
        values: The outputs.
        side: "teacher" or "student".
        binary: Whether each output stands for a class of its own.
        loss_name: The name of the loss for the message.
        remedy: What else can be done, a clause that ends the message.

    Raises:
        ValueError: If it does: all rows are at least 0 and sum to 1 (binary: all values
            lie in [0, 1]).
    """
    array = _rows_that_say_something(values)
    if array.size == 0:
        return
    if binary:
        looks = array.size >= 8 and array.min() >= 0.0 and array.max() <= 1.0
    else:
        looks = array.min() >= 0.0 and _sum_to_one(array)
    if looks:
        activation = "sigmoid" if binary else "softmax"
        raise ValueError(
            f"{loss_name} needs logits. Received: outputs of the {side} that "
            f"are probabilities in the first batch, as after a {activation}. Remove "
            f"the last activation of the {side} (training with `from_logits=True`)"
            f"{remedy}."
        )


def check_probabilities(
    values: Any, *, side: str, binary: bool, loss_name: str, remedy: str
) -> None:
    """Raise where the first batch holds values that are no probabilities.

    Args:
        values: The outputs.
        side: "teacher" or "student".
        binary: Whether each output stands for a class of its own.
        loss_name: The name of the loss for the message.
        remedy: What to do, a sentence that ends the message.

    Raises:
        ValueError: A value lies outside of [0, 1] or, where the classes exclude each
            other, those of a row do not sum to 1.
    """
    array = _rows_that_say_something(values)
    if array.size == 0:
        return
    low, high = float(array.min()), float(array.max())
    if low < 0.0 or high > 1.0 + _ROUNDING:
        cause = f"values from {low:.4g} to {high:.4g}"
    elif not binary and not _sum_to_one(array):
        sums = array.sum(axis=-1)
        cause = f"rows that sum to {float(sums.min()):.4g} to {float(sums.max()):.4g}"
    else:
        return
    raise ValueError(
        f"{loss_name} needs probabilities. Received: outputs of the {side} with "
        f"{cause} in the first batch. {remedy}"
    )


def _rows_that_say_something(values: Any) -> Any:
    """Return the rows in NumPy, but for those of zeros: padding, a head that is new."""
    array = ops.convert_to_numpy(ops.cast(values, "float32"))
    rows = array.reshape((-1, array.shape[-1]))
    return rows[(rows != 0.0).any(axis=-1)]


def _sum_to_one(rows: Any) -> bool:
    return bool(np.all(np.abs(rows.sum(axis=-1) - 1.0) < _ROUNDING))
