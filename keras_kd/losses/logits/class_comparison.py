"""The part that the losses on the classes of one output share: checks and labels."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import (
    NO_CLASSES,
    check_finite,
    check_not_probabilities,
    check_same_classes,
)
from keras_kd.losses.logits.output_comparison import OutputComparison


class ClassComparison(OutputComparison):
    """A loss that compares the logits of one output, class by class."""

    _rank: int | None = None

    def build(self, teacher: Any, student: Any) -> None:
        for side, output in (("teacher", teacher), ("student", student)):
            check_one_output(output, side=side, loss_name=type(self).__name__)
        check_same_classes(
            teacher,
            student,
            minimum=2,
            loss_name=type(self).__name__,
            remedy=NO_CLASSES,
        )
        if self._rank is not None and len(student.shape) != self._rank:
            raise ValueError(
                f"{type(self).__name__} relates the examples of a batch to each other "
                "and needs outputs of shape `(batch, classes)`. Received: teacher "
                f"{tuple(teacher.shape)}, student {tuple(student.shape)}. For tokens "
                "or pixels use `LogitsDistillation`."
            )
        super().build(teacher, student)

    def check(self, teacher: Any, student: Any) -> None:
        for side, values in (("teacher", teacher), ("student", student)):
            check_logits(values, side=side, loss_name=type(self).__name__)

    def labels(self, step: StepContext, student: Any) -> Any:
        """Return the batch's labels for the student's output."""
        key = self._outputs["student"].key
        return class_labels(step.y, student, key=key, loss_name=type(self).__name__)


def check_one_output(output: Any, *, side: str, loss_name: str) -> None:
    """Raise where a model has several outputs and none is selected.

    Raises:
        ValueError: If it has.
    """
    if keras.tree.is_nested(output):
        known = (
            list(output)
            if isinstance(output, dict)
            else f"{len(output)}, a {type(output).__name__}"
        )
        raise ValueError(
            f"{loss_name} works on one output. Received: outputs of the {side}, "
            f"{known}. Select one by `output=`, a name or an index."
        )


def check_logits(values: Any, *, side: str, loss_name: str) -> None:
    """Raise where the first batch of an output holds no logits.

    Raises:
        ValueError: If some are not numbers, or all look like probabilities.
    """
    check_finite(values, side=side, loss_name=loss_name)
    check_not_probabilities(values, side=side, binary=False, loss_name=loss_name)


def class_labels(y: Any, student: Any, *, key: Any, loss_name: str) -> Any:
    """Return the batch's labels as class indices.

    Args:
        y: The batch's labels: indices of shape `(...)` or `(..., 1)`, or one value per
            class, of which the largest counts. With several outputs, a dict, list or
            tuple that `key` selects from.
        student: The student's logits, of shape `(..., classes)`.
        key: The name or index of the output, or None.
        loss_name: The name of the loss for messages.

    Returns:
        Integer tensor of shape `(...)`. A label that names no class (-1, -100, 255 of
        fewer classes) leaves its position out of the loss.

    Raises:
        ValueError: If there are no labels, or they do not fit the logits.
    """
    if y is None:
        raise ValueError(
            f"{loss_name} needs labels. Received: data without y. Pass the class of "
            "each example to `fit`, or use `LogitsDistillation`."
        )
    is_place = isinstance(y, (list, tuple)) and isinstance(key, int)
    if is_place or (isinstance(y, dict) and key in y):
        y = y[key]
    if keras.tree.is_nested(y):
        known = list(y) if isinstance(y, dict) else f"a list of {len(y)}"
        raise ValueError(
            f"{loss_name} needs the labels of one output. Received: y with {known}, "
            f"output={key!r}. Name the output by `output=` as y does."
        )
    wanted, given = tuple(student.shape), tuple(y.shape)
    if len(given) == len(wanted) and given[-1] == 1:
        y, given = ops.squeeze(y, axis=-1), given[:-1]
    is_one_hot = len(given) == len(wanted)
    pairs = zip(given, wanted if is_one_hot else wanted[:-1], strict=False)
    if len(given) not in (len(wanted), len(wanted) - 1) or any(
        g != w for g, w in pairs if g is not None and w is not None
    ):
        raise ValueError(
            f"{loss_name} needs one class index per distribution, of shape "
            f"{wanted[:-1]}, or one value per class, of shape {wanted}. "
            f"Received: y of shape {tuple(y.shape)}."
        )
    return ops.argmax(y, axis=-1) if is_one_hot else ops.cast(y, "int32")
