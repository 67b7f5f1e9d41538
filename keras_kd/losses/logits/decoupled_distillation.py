"""The student learns the target and the other classes by two separate terms."""

from typing import Any

import keras

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.standardize import standardize
from keras_kd.ops.target_classes import decoupled_kl_divergence, names_class


@keras.saving.register_keras_serializable(package="keras_kd")
class DecoupledDistillation(ClassComparison):
    """Decoupled knowledge distillation (DKD); reads the labels.

    T² · (α TCKD + β NCKD), one value per example or token. TCKD is the KL divergence
    of the target against all other classes, NCKD that of the distributions
    renormalised over the other classes. Plain KL weighs NCKD by 1 − p_y, that is, not
    at all where the teacher is sure.

    Labels are class indices, or one-hot; of soft labels the largest counts. What has a
    label that names no class is left out.

    Args:
        alpha: Weight α, at least 0, or a `LearningRateSchedule`. Defaults to 1.0.
        beta: Weight β, the same. Published: 2, 6 or 8 by pair of models, 0.5 to 2 on
            ImageNet. Defaults to 8.0.
        temperature: Positive number T, or a schedule. Published: 4, 1 on ImageNet.
            Defaults to 4.0.
        standardize: Whether the logits of both sides are first brought to mean 0 and
            standard deviation 1 over the classes; α 9 and β 72 are then usual (nine
            times the above). Defaults to False.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "decoupled_distillation".

    Raises:
        ValueError: If a weight is negative, `temperature` is not positive, the outputs
            do not hold logits of the same classes, or there are no labels that fit.

    Example:
    >>> loss = DecoupledDistillation(beta=2.0)
    >>> logits, step = np.array([[1.0, 3.0]]), keras_kd.StepContext(y=np.array([1]))
    >>> values, valid = loss.call(logits, logits, step)
    >>> float(values[0])
    0.0

    Reference: Zhao et al., 2022, arXiv:2203.08679: weight 1 beside a student loss of
    weight 1, warmed up over 20 epochs (1 on ImageNet), as by
    `keras_kd.schedules.LinearWarmup`; `standardize`: Sun et al., 2024,
    arXiv:2403.01427.
    """

    alpha = Hyperparameter(minimum=0)
    beta = Hyperparameter(minimum=0)
    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        alpha: Scalar = 1.0,
        beta: Scalar = 8.0,
        temperature: Scalar = 4.0,
        *,
        standardize: bool = False,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.standardize = standardize

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        labels = self.labels(step, student)
        if self.standardize:
            teacher, student = standardize(teacher), standardize(student)
        value = decoupled_kl_divergence(
            teacher,
            student,
            labels,
            alpha=step.value(self, "alpha"),
            beta=step.value(self, "beta"),
            temperature=step.value(self, "temperature"),
        )
        return only_valid(names_class(labels, student.shape[-1]), value)


METHODS = (
    Method(
        "dkd",
        DecoupledDistillation,
        paper="Zhao et al., 2022, arXiv:2203.08679",
        signals="outputs",
        weight=1.0,
        student_loss_weight=1.0,
        when="A teacher so sure that its other classes hardly count in plain KD.",
        labels=True,
        warmup=20 / 240,
    ),
)
