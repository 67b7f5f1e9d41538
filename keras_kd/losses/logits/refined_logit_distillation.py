"""The student learns from the teacher what the label does not contradict."""

from typing import Any

import keras

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.standardize import standardize
from keras_kd.ops.target_classes import names_class, refined_kl_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class RefinedLogitDistillation(ClassComparison):
    """Refined logit distillation (RLD), for teachers that are often wrong; with labels.

    α T_c² · SCD + β T² · MCD, one value per example or token. SCD brings the student's
    probability of the label to the teacher's largest probability, whatever class has
    it. MCD is the KL divergence over the classes that the teacher places below the
    label; 0 where there is none. Where the teacher is wrong, equal logits are no
    minimum.

    Labels are class indices, or one-hot; of soft labels the largest counts. What has a
    label that names no class is left out.

    Args:
        alpha: Weight α, at least 0, or a `LearningRateSchedule`. Defaults to 1.0.
        beta: Weight β, the same. Published: 8, on ImageNet 0.5. Defaults to 8.0.
        temperature: Positive number T of MCD, or a schedule. Published: 4, on
            ImageNet 1. Defaults to 4.0.
        confidence_temperature: Positive number T_c of SCD, or a schedule. Published:
            1; the authors' command for CIFAR has 4. Defaults to 1.0.
        standardize: Whether the logits of both sides are first brought to mean 0 and
            standard deviation 1 over the classes. Defaults to False.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "refined_logit_distillation".

    Raises:
        ValueError: If a weight is negative, a temperature is not positive, the outputs
            do not hold logits of the same classes, or there are no labels that fit.

    Example:
    >>> loss = RefinedLogitDistillation()
    >>> logits, step = np.array([[1.0, 3.0]]), keras_kd.StepContext(y=np.array([1]))
    >>> values, valid = loss.call(logits, logits, step)
    >>> float(values[0])
    0.0

    Reference: Sun et al., 2024, arXiv:2408.07703: weight 1 beside a student loss of
    weight 1, warmed up over 20 epochs (`keras_kd.schedules.LinearWarmup`).
    """

    alpha = Hyperparameter(minimum=0)
    beta = Hyperparameter(minimum=0)
    temperature = Hyperparameter(above=0)
    confidence_temperature = Hyperparameter(above=0)

    def __init__(
        self,
        alpha: Scalar = 1.0,
        beta: Scalar = 8.0,
        temperature: Scalar = 4.0,
        confidence_temperature: Scalar = 1.0,
        *,
        standardize: bool = False,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.confidence_temperature = confidence_temperature
        self.standardize = standardize

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        labels = self.labels(step, student)
        if self.standardize:
            teacher, student = standardize(teacher), standardize(student)
        value = refined_kl_divergence(
            teacher,
            student,
            labels,
            alpha=step.value(self, "alpha"),
            beta=step.value(self, "beta"),
            temperature=step.value(self, "temperature"),
            confidence_temperature=step.value(self, "confidence_temperature"),
        )
        return only_valid(names_class(labels, student.shape[-1]), value)


METHODS = (
    Method(
        "rld",
        RefinedLogitDistillation,
        paper="Sun et al., 2024, arXiv:2408.07703",
        signals="outputs",
        weight=1.0,
        student_loss_weight=1.0,
        when="A teacher that is often wrong on the training set.",
        labels=True,
        warmup=20 / 240,
    ),
)
