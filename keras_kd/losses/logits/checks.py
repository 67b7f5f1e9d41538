"""Checks that the outputs to compare are logits of the same classes."""

from typing import Any

import numpy as np
from keras import ops


def check_same_classes(
    teacher: Any, student: Any, *, minimum: int, loss_name: str, remedy: str
) -> None:
    """Raise where two specs of logits do not stand for the same classes.

    Raises:
        ValueError: If the shapes differ, or there are fewer classes than `minimum`.
    """
    pair = f"teacher {tuple(teacher.shape)}, student {tuple(student.shape)}"
    if len(teacher.shape) != len(student.shape) or len(student.shape) < 2:
        raise ValueError(
            f"{loss_name} compares outputs of one rank, `(batch, ..., classes)`. "
            f"Received: {pair}. Select the outputs to compare by `output=`, or compare "
            "features by `FeatureDistillation`."
        )
    for t, s in zip(teacher.shape[1:], student.shape[1:], strict=True):
        if t is not None and s is not None and t != s:
            raise ValueError(
                f"{loss_name} compares outputs of one shape after the batch axis. "
                f"Received: {pair}. Teacher and student must have the same classes in "
                "the same order; slice or map the teacher's in a wrapper layer."
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
    array = ops.convert_to_numpy(ops.cast(values, "float32"))
    if array.size == 0:
        return
    if binary:
        looks = array.size >= 8 and array.min() >= 0.0 and array.max() <= 1.0
    else:
        # Rounding of float16 and bfloat16 outputs adds up over the classes.
        looks = array.min() >= 0.0 and bool(
            np.all(np.abs(array.sum(axis=-1) - 1.0) < 1e-2)
        )
    if looks:
        activation = "sigmoid" if binary else "softmax"
        raise ValueError(
            f"{loss_name} needs logits. Received: outputs of the {side} that "
            f"are probabilities in the first batch, as after a {activation}. Remove "
            f"the last activation of the {side} (training with `from_logits=True`)"
            f"{remedy}."
        )
