"""The student learns the teacher's relations, not its probabilities."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.correlations import correlation_distances


@keras.saving.register_keras_serializable(package="keras_kd")
class CorrelationDistillation(ClassComparison):
    """Correlation of predictions (DIST), for teachers far stronger than the student.

    T² · (β (1 − ρ) + γ (1 − ρ')), with Pearson's correlations of softmax(t / T) and
    softmax(s / T): ρ over the classes of an example (the paper's inter-class
    relation), ρ' over the examples of a class, averaged over the classes (its
    intra-class relation). A scaled or shifted distribution costs nothing.

    The value of an example is its own first term plus the second, which is one for the
    batch. Examples without weight or masked take no part in ρ'; the size of a weight
    does not change it. A batch of one example has no ρ': the term is 0. Under several
    replicas ρ' is that of each replica's share of the batch.

    Args:
        beta: Weight β, at least 0, or a `LearningRateSchedule`. Defaults to 1.0.
        gamma: Weight γ, the same. Defaults to 1.0.
        temperature: Positive number T, or a schedule. Published: 4 on CIFAR, 1 on
            ImageNet. Defaults to 1.0.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`, of shape `(batch, classes)`. Defaults to
            None, for models with one.
        name: The name in the logs. Defaults to "correlation_distillation".

    Raises:
        ValueError: If a weight is negative, `temperature` is not positive, or the
            outputs do not hold logits of the same classes.

    Example:
    >>> logits = np.array([[1.0, 2.0], [5.0, 3.0]])
    >>> abs(round(float(CorrelationDistillation().compute_loss(logits, logits)), 4))
    0.0

    Reference: Huang et al., 2022, arXiv:2205.10536: weight 2 beside a student loss of
    weight 1.
    """

    _rank = 2
    beta = Hyperparameter(minimum=0)
    gamma = Hyperparameter(minimum=0)
    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        beta: Scalar = 1.0,
        gamma: Scalar = 1.0,
        temperature: Scalar = 1.0,
        *,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        within, across = correlation_distances(
            teacher,
            student,
            included=step.included(ops.shape(student)[0]),
            temperature=step.value(self, "temperature"),
        )
        return step.value(self, "beta") * within + step.value(self, "gamma") * across


METHODS = (
    Method(
        "dist",
        CorrelationDistillation,
        paper="Huang et al., 2022, arXiv:2205.10536",
        signals="outputs",
        weight=2.0,
        student_loss_weight=1.0,
        when="A teacher much stronger than the student: only its rankings shall count.",
        defaults={"temperature": 4.0},
    ),
)
