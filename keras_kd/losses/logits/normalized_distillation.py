"""The student learns the target by its share and the others among themselves."""

from typing import Any

import keras

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.target_classes import names_class, normalized_crossentropy


@keras.saving.register_keras_serializable(package="keras_kd")
class NormalizedDistillation(ClassComparison):
    """Normalised knowledge distillation (NKD); reads the labels.

    −p_y log q_y − γ T² Σ p̂ log q̂, one value per example or token: a cross-entropy with
    the label, weighted by the teacher's trust in it, at temperature 1; and one with the
    teacher's distribution over the other classes, renormalised, at temperature T. As a
    cross-entropy it does not fall to 0, and the first term goes on pulling a student
    that equals the teacher towards the label.

    Labels are class indices, or one-hot; of soft labels the largest counts. What has a
    label that names no class is left out.

    Args:
        gamma: Weight γ of the other classes, at least 0, or a `LearningRateSchedule`.
            Published: 1.5, with T 3 on CIFAR 3.5. Defaults to 1.5.
        temperature: Positive number T, or a schedule. Defaults to 1.0.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "normalized_distillation".

    Raises:
        ValueError: If `gamma` is negative, `temperature` is not positive, the outputs
            do not hold logits of the same classes, or there are no labels that fit.

    Example:
    >>> loss = NormalizedDistillation(gamma=1.5)
    >>> step = keras_kd.StepContext(y=np.array([0]))
    >>> even = np.zeros((1, 2))
    >>> values, valid = loss.call(even, even, step)
    >>> round(float(values[0]), 4)  # ½ log 2
    0.3466

    Reference: Yang et al., 2023, arXiv:2303.13005: weight 1 beside a student loss of
    weight 1.
    """

    gamma = Hyperparameter(minimum=0)
    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        gamma: Scalar = 1.5,
        temperature: Scalar = 1.0,
        *,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        self.gamma = gamma
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        labels = self.labels(step, student)
        value = normalized_crossentropy(
            teacher,
            student,
            labels,
            gamma=step.value(self, "gamma"),
            temperature=step.value(self, "temperature"),
        )
        return only_valid(names_class(labels, student.shape[-1]), value)


METHODS = (
    Method(
        "nkd",
        NormalizedDistillation,
        paper="Yang et al., 2023, arXiv:2303.13005",
        signals="outputs",
        weight=1.0,
        student_loss_weight=1.0,
        when="As decoupled distillation, with one weight fewer.",
        labels=True,
    ),
)
