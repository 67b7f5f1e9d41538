"""The student keeps the teacher's distances and angles."""

from typing import Any

import keras

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method
from keras_kd.losses.relations.base import RelationComparison
from keras_kd.ops.relations import relational_angle, relational_distance


@keras.saving.register_keras_serializable(package="keras_kd")
class RelationalDistillation(RelationComparison):
    """Relational distillation of the distances and angles between examples.

    distance_weight · Huber(d_t / mean d_t, d_s / mean d_s) over all pairs
    + angle_weight · Huber(cos ∠_t, cos ∠_s) over all triplets. No projector for any
    widths. One value per example, 0 for a batch of one; the angles take B³.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        distance_weight: Weight of the distances, at least 0, or a
            `LearningRateSchedule`. Defaults to 25.0.
        angle_weight: The same for the angles. Defaults to 50.0.
        name: The name in the logs. Defaults to "relational_distillation".

    Raises:
        ValueError: If a weight is negative.

    Example:
    >>> loss = RelationalDistillation("embedding", "embedding")
    >>> float(loss.compute_loss(np.eye(3, 5), 2 * np.eye(3)))
    0.0

    Reference: Park et al., 2019, arXiv:1904.05068: 25 and 50 on classifiers, 1 and 2 on
    embeddings.
    """

    distance_weight = Hyperparameter(minimum=0)
    angle_weight = Hyperparameter(minimum=0)

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        distance_weight: Scalar = 25.0,
        angle_weight: Scalar = 50.0,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_layer_name, student_layer_name, name=name)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def relation(
        self, teacher: Any, student: Any, included: Any, step: StepContext
    ) -> Any:
        distance = relational_distance(teacher, student, included=included)
        angle = relational_angle(teacher, student, included=included)
        return (
            step.value(self, "distance_weight") * distance
            + step.value(self, "angle_weight") * angle
        )


METHODS = (
    Method(
        "rkd",
        RelationalDistillation,
        paper="Park et al., 2019, arXiv:1904.05068",
        signals="feature",
        weight=1.0,
        student_loss_weight=1.0,
        when="Embeddings: metric learning and retrieval.",
    ),
)
