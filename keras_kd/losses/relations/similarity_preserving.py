"""Examples that are alike to the teacher become alike to the student."""

from typing import Any

import keras

from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method
from keras_kd.losses.relations.base import RelationComparison
from keras_kd.ops.relations import similarity_distance


@keras.saving.register_keras_serializable(package="keras_kd")
class SimilarityPreserving(RelationComparison):
    """Distillation of the similarities within a batch.

    ‖G_t − G_s‖² / B², where G = F Fᵀ has rows of unit L2 norm and F holds the flattened
    features of the B examples. No projector, whatever the widths. One value per example
    (its row), 0 for a batch of one.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        name: The name in the logs. Defaults to "similarity_preserving".

    Example:
    >>> loss = SimilarityPreserving("block_3", "block_2")
    >>> float(loss.compute_loss(np.eye(3, 5), np.eye(3)))
    0.0

    Reference: Tung and Mori, 2019, arXiv:1907.09682, whose weight is 3000.
    """

    def relation(
        self, teacher: Any, student: Any, included: Any, step: StepContext
    ) -> Any:
        del step
        return similarity_distance(teacher, student, included=included)


METHODS = (
    Method(
        "sp",
        SimilarityPreserving,
        paper="Tung and Mori, 2019, arXiv:1907.09682",
        signals="feature",
        weight=3000.0,
        student_loss_weight=1.0,
        when="Layers of any two shapes, and no projector wanted.",
    ),
)
