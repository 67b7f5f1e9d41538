"""A teacher made of the labels: no model at all."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.class_comparison import class_labels
from keras_kd.losses.registry import Method
from keras_kd.losses.self_distillation.base import OwnOutput
from keras_kd.ops.target_classes import names_class, virtual_teacher_kl_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class VirtualTeacherDistillation(OwnOutput):
    """Teacher-free regularisation (Tf-KD): distillation where there is no teacher.

    KL(softmax(u / T) ‖ softmax(s)), one value per example or token. The virtual teacher
    u gives the label the probability a and each other class (1 − a) / (C − 1); T
    divides these probabilities. The student is not tempered and there is no factor T².
    At a usual T the target is nearly even: a strong label smoothing.

    Plain label smoothing needs no distillation: `keras.losses.CategoricalCrossentropy`
    has it as `label_smoothing=`.

    Labels are class indices, or one-hot; of soft labels the largest counts. What has a
    label that names no class is left out.

    Args:
        correct_probability: The probability a of the label, from 0 to 1. Defaults to
            0.99, as published.
        temperature: Positive number T, or a `LearningRateSchedule`. Published: 10 to
            40. Defaults to 20.0.
        output: The name or index of the student's output. Defaults to None, for a
            student with one.
        name: The name in the logs. Defaults to "virtual_teacher_distillation".

    Raises:
        ValueError: If `correct_probability` is not from 0 to 1, `temperature` is not
            positive, the output does not hold logits, or there are no labels that fit.

    Example:
    >>> loss = VirtualTeacherDistillation(temperature=1.0)
    >>> step = keras_kd.StepContext(y=np.array([0]))
    >>> values, valid = loss.call(None, np.zeros((1, 2)), step)
    >>> round(float(values[0]), 4)
    0.107

    Reference: Yuan et al., 2020, arXiv:1909.11723. The authors' code averages over the
    C classes, too, and multiplies by a `multiplier`; here they are added up as in the
    paper. Its α beside a task loss of weight 1 − α is α · multiplier / C here. On
    CIFAR-100: ResNet18 (α 0.1, T 20, multiplier 100) weight 0.1 beside 0.9; MobileNetV2
    (α 0.95, T 40, multiplier 1) weight 0.0095 beside 0.05.
    """

    def __init__(
        self,
        correct_probability: float = 0.99,
        temperature: Scalar = 20.0,
        *,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(temperature, output=output, name=name)
        # A wrong number shows here and not in the first compiled step.
        virtual_teacher_kl_divergence(
            ops.zeros((1, 2)),
            ops.zeros((1,), dtype="int32"),
            correct_probability=correct_probability,
        )
        self.correct_probability = float(correct_probability)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        labels = class_labels(
            step.y, student, key=self.output, loss_name=type(self).__name__
        )
        value = virtual_teacher_kl_divergence(
            student,
            labels,
            correct_probability=self.correct_probability,
            temperature=step.value(self, "temperature"),
        )
        return only_valid(names_class(labels, student.shape[-1]), value)


METHODS = (
    Method(
        "tf_kd",
        VirtualTeacherDistillation,
        paper="Yuan et al., 2020, arXiv:1909.11723",
        signals="nothing",
        weight=0.9,
        student_loss_weight=0.1,
        when="There is no teacher.",
        labels=True,
    ),
)
