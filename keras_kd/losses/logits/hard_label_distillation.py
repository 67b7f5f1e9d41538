"""The student learns the teacher's decision."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import compare
from keras_kd.losses.logits.checks import (
    NO_CLASSES,
    check_finite,
    check_not_probabilities,
    check_same_classes,
)
from keras_kd.losses.logits.output_comparison import OutputComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import log_probabilities


@keras.saving.register_keras_serializable(package="keras_kd")
class HardLabelDistillation(OutputComparison):
    """Cross-entropy of the student with the class that the teacher prefers.

    −log softmax(s)[argmax t], one value per example or token. The teacher may give
    logits or probabilities; the student gives logits.

    Args:
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. None for all. Defaults to None.
        name: The name in the logs. Defaults to "hard_label_distillation".

    Raises:
        ValueError: If the outputs do not stand for the same classes.

    Example:
    >>> teacher, student = np.array([[0.0, 5.0]]), np.array([[0.0, 0.0]])
    >>> round(float(HardLabelDistillation().compute_loss(teacher, student)), 4)
    0.6931

    Reference: Touvron et al., 2021, DeiT, arXiv:2012.12877, which weighs it by 0.5.
    """

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)

        def check_pair(_: Any, t: Any, s: Any) -> None:
            check_same_classes(
                t,
                s,
                minimum=2,
                loss_name="HardLabelDistillation",
                remedy=NO_CLASSES,
            )

        compare(True, teacher, student, check_pair)

    def check(self, teacher: Any, student: Any) -> None:
        def check_pair(_: Any, t: Any, s: Any) -> None:
            check_finite(t, side="teacher", loss_name=type(self).__name__)
            check_finite(s, side="student", loss_name=type(self).__name__)
            check_not_probabilities(
                s, side="student", binary=False, loss_name=type(self).__name__
            )

        compare(True, teacher, student, check_pair)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del step
        return compare(True, teacher, student, lambda _, t, s: _crossentropy(t, s))


METHODS = (
    Method(
        "hard_label",
        HardLabelDistillation,
        paper="Touvron et al., 2021, DeiT, arXiv:2012.12877",
        signals="outputs",
        weight=0.5,
        student_loss_weight=0.5,
        when="Noisy labels, or a teacher that is rarely wrong.",
    ),
)


def _crossentropy(teacher: Any, student: Any) -> Any:
    # argmax of half-precision logits is done in float32: the order is the same.
    label = ops.argmax(ops.cast(teacher, "float32"), axis=-1)
    log_q = log_probabilities(student)
    picked = ops.take_along_axis(log_q, ops.expand_dims(label, -1), axis=-1)
    return -ops.squeeze(picked, axis=-1)
