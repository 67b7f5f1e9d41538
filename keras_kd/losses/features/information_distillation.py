"""The student's representation carries the teacher's information."""

from numbers import Real
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.projected_comparison import (
    BatchStatisticsComparison,
)
from keras_kd.losses.registry import Method
from keras_kd.ops.information import correlation_information, mutual_information


@keras.saving.register_keras_serializable(package="keras_kd")
class InformationDistillation(BatchStatisticsComparison):
    """Distillation by correlation and mutual information: ITRD.

    correlation_weight · log2 Σ_d |1 − ρ_d|^(2α) + mutual_weight · (log2 ‖G_s‖² −
    log2 ‖G_st‖²), with the correlation ρ over the batch of each dimension of the
    projected embedding, and Gram matrices G over their traces. Features are flattened.
    Both terms are one for the batch, and the value of each of its examples; a batch of
    one gives 0. The first term may be negative: it falls to about −20.

    Examples without weight or masked take no part; under several replicas the terms
    are those of each replica's share.

    Args:
        teacher_layer_name: The teacher's embedding layer: a path, a layer object or a
            `Tap`. None for the model's output.
        student_layer_name: The same for the student.
        alpha: Number α above ½. Published: 1.01 to 1.5. Defaults to 1.01.
        correlation_weight: Weight of the first term, at least 0, or a
            `LearningRateSchedule`. Defaults to 2.0.
        mutual_weight: The same for the second. Defaults to 1.0.
        projector: As in `FeatureDistillation`. Defaults to "auto".
        name: The name in the logs. Defaults to "information_distillation".

    Raises:
        ValueError: If `alpha` is not above ½, a weight is negative, or `projector` is
            not one of these.

    Example:
    >>> loss = InformationDistillation("embedding", "embedding")
    >>> round(float(loss.compute_loss(np.eye(3), -np.eye(3))), 2)
    7.21

    Reference: Miles et al., 2021, arXiv:2112.00459, with the weights 2 and 1.
    """

    correlation_weight = Hyperparameter(minimum=0)
    mutual_weight = Hyperparameter(minimum=0)

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        alpha: float = 1.01,
        correlation_weight: Scalar = 2.0,
        mutual_weight: Scalar = 1.0,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(
            teacher_layer_name,
            student_layer_name,
            projector=projector,
            name=name,
        )
        if isinstance(alpha, bool) or not isinstance(alpha, Real) or not alpha > 0.5:
            raise ValueError(
                f"`alpha` must be a number above 0.5. Received: alpha={alpha!r}"
            )
        self.alpha: float = float(alpha)
        self.correlation_weight = correlation_weight
        self.mutual_weight = mutual_weight

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss
        batch = ops.shape(student)[0]
        included = step.included(batch)
        t, s = (ops.reshape(x, (batch, -1)) for x in (teacher, student))
        correlation = correlation_information(t, s, included=included, alpha=self.alpha)
        value = step.value(self, "correlation_weight") * correlation
        mutual = mutual_information(t, s, included=included)
        value += step.value(self, "mutual_weight") * mutual
        return value * ops.ones_like(included)


METHODS = (
    Method(
        "itrd",
        InformationDistillation,
        paper="Miles et al., 2021, arXiv:2112.00459",
        signals="feature",
        weight=1.0,
        student_loss_weight=1.0,
        when="Embeddings, with few settings to search.",
    ),
)
