"""Each of several teachers counts as far as it is right about the example."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.class_comparison import class_labels
from keras_kd.losses.logits.several_teachers import SeveralTeachers
from keras_kd.losses.registry import Method
from keras_kd.ops.ensembles import confidence_weights
from keras_kd.ops.selection import weighted
from keras_kd.ops.target_classes import names_class


@keras.saving.register_keras_serializable(package="keras_kd")
class ConfidenceWeightedDistillation(SeveralTeachers):
    """Confidence-aware distillation from several teachers: CA-MKD; reads the labels.

    T² Σ_k w_k KL(p_k ‖ q), with w_k = (1 − softmax_k(CE_k)) / (K − 1), where CE_k is
    the cross-entropy of teacher k and the label. One value per example or token;
    one whose label names no class is left out. For the teacher
    `keras_kd.teachers.Ensemble`.

    Args:
        num_teachers: The number K of teachers, at least 2.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 4.0.
        name: The name in the logs. Defaults to "confidence_weighted_distillation".

    Raises:
        ValueError: If `num_teachers` is not an integer of at least 2, `temperature` is
            not positive, the teacher is not an ensemble of that many, the outputs do
            not hold logits of the same classes, or there are no labels that fit.

    Example:
    >>> loss = ConfidenceWeightedDistillation(2)
    >>> [tap.layer for tap in loss.teacher_signals()]
    ['teachers[0]', 'teachers[1]']

    Reference: Zhang, Chen and Wang, 2022, arXiv:2201.00007; weight 1. The authors' code
    divides by K once more: its weight of 1 is 1 / K here.
    """

    def __init__(
        self,
        num_teachers: int,
        temperature: Scalar = 4.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(num_teachers, temperature, name=name)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        labels = class_labels(step.y, student, key=None, loss_name=type(self).__name__)
        logits, values = self.divergences(teacher, student, step)
        weights = confidence_weights(logits, labels)
        # Of a teacher of weight 0 the divergence may be infinite.
        value = ops.sum(weighted(weights, values), axis=0)
        return only_valid(names_class(labels, logits.shape[-1]), value)


METHODS = (
    Method(
        "ca_mkd",
        ConfidenceWeightedDistillation,
        paper="Zhang, Chen and Wang, 2022, arXiv:2201.00007",
        signals="teachers",
        weight=1.0,
        student_loss_weight=1.0,
        when="Several teachers, of which some are wrong on an example.",
        labels=True,
    ),
)
