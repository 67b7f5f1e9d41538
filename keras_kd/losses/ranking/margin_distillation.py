"""The student ranks as the teacher does, by the same margins."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_finite, check_same_classes
from keras_kd.losses.logits.output_comparison import OutputComparison
from keras_kd.losses.registry import Method


@keras.saving.register_keras_serializable(package="keras_kd")
class MarginDistillation(OutputComparison):
    """Distillation of the margins between relevant and irrelevant documents: MarginMSE.

    mean over the negatives n of ((s₀ − s_n) − (t₀ − t_n))², where both models give the
    scores `(batch, 1 + negatives)` of a query with its relevant document, first, and
    with irrelevant ones. The scales of the two models may have any offset.

    Args:
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. None for the only one.
        name: The name in the logs. Defaults to "margin_distillation".

    Raises:
        ValueError: If the outputs are not scores of the same documents.

    Example:
    >>> teacher, student = np.array([[9.0, 2.0]]), np.array([[1.0, 0.0]])
    >>> float(MarginDistillation().compute_loss(teacher, student))
    36.0

    Reference: Hofstätter et al., 2020, arXiv:2010.02666, where it stands alone:
    `student_loss_weight=0`.
    """

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        check_same_classes(
            teacher,
            student,
            minimum=2,
            loss_name="MarginDistillation",
            remedy="Score the relevant document and at least one other.",
        )

    def check(self, teacher: Any, student: Any) -> None:
        check_finite(teacher, side="teacher", loss_name=type(self).__name__)
        check_finite(student, side="student", loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del step
        gap = _margins(student) - _margins(teacher)
        return ops.mean(ops.square(gap), axis=-1)


METHODS = (
    Method(
        "margin_mse",
        MarginDistillation,
        paper="Hofstätter et al., 2020, arXiv:2010.02666",
        signals="outputs",
        weight=1.0,
        student_loss_weight=0.0,
        when="Rankers: scores of one query's documents.",
    ),
)


def _margins(scores: Any) -> Any:
    scores = ops.cast(scores, "float32")
    return scores[..., :1] - scores[..., 1:]
