"""The student keeps the teacher's correlations between examples."""

from numbers import Real
from typing import Any

import keras

from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method
from keras_kd.losses.relations.base import RelationComparison
from keras_kd.ops.relations import correlation_congruence


@keras.saving.register_keras_serializable(package="keras_kd")
class CorrelationCongruence(RelationComparison):
    """Distillation of the kernel matrix of a batch.

    The mean over all pairs of (K_t − K_s)², where K is the Taylor series of the
    Gaussian kernel between unit vectors, e^(−2γ) Σ_{p ≤ order} (2γ)^p / p! · cos^p. No
    projector, whatever the widths. One value per example, 0 for a batch of one.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        gamma: Positive number γ. Defaults to 0.4.
        order: Highest power of the series, at least 1. Defaults to 2.
        name: The name in the logs. Defaults to "correlation_congruence".

    Raises:
        ValueError: If `gamma` is not positive, or `order` is not a positive integer.

    Example:
    >>> loss = CorrelationCongruence("embedding", "embedding")
    >>> float(loss.compute_loss(np.eye(3, 5), np.eye(3)))
    0.0

    Reference: Peng et al., 2019, arXiv:1904.01802. The pairs are averaged; the weight
    in a common reimplementation is 0.02 on a sum over distances of another kind, so
    start from a term of the task's size.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        gamma: float = 0.4,
        order: int = 2,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_layer_name, student_layer_name, name=name)
        if isinstance(gamma, bool) or not isinstance(gamma, Real) or not gamma > 0:
            raise ValueError(
                f"`gamma` must be a positive number. Received: gamma={gamma!r}"
            )
        if isinstance(order, bool) or not isinstance(order, int) or order < 1:
            raise ValueError(
                f"`order` must be a whole number, at least 1. Received: order={order!r}"
            )
        self.gamma: float = float(gamma)
        self.order: int = order

    def relation(
        self, teacher: Any, student: Any, included: Any, step: StepContext
    ) -> Any:
        del step
        return correlation_congruence(
            teacher, student, included=included, gamma=self.gamma, order=self.order
        )


METHODS = (
    Method(
        "cc",
        CorrelationCongruence,
        paper="Peng et al., 2019, arXiv:1904.01802",
        signals="feature",
        weight=100.0,
        student_loss_weight=1.0,
        when="Embeddings, as a smoother relative of rkd.",
    ),
)
