"""The student keeps the teacher's neighbourhoods."""

from typing import Any

import keras

from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method
from keras_kd.losses.relations.base import RelationComparison
from keras_kd.ops.relations import probabilistic_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class ProbabilisticKnowledgeTransfer(RelationComparison):
    """Distillation of each example's distribution over its neighbours.

    The mean over all pairs of p log((p + ε) / (q + ε)), where p_ij is the teacher's
    (1 + cos(i, j)) / 2, over its sum over j, and q the student's. No projector for
    any widths. One value per example, 0 for a batch of one.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        name: The name in the logs. Defaults to "probabilistic_knowledge_transfer".

    Example:
    >>> loss = ProbabilisticKnowledgeTransfer("embedding", "embedding")
    >>> float(loss.compute_loss(np.eye(3, 5), np.eye(3)))
    0.0

    Reference: Passalis and Tefas, 2018, arXiv:1803.10837. As in their code the pairs
    are averaged, which wants a weight of about 30000.
    """

    def relation(
        self, teacher: Any, student: Any, included: Any, step: StepContext
    ) -> Any:
        del step
        return probabilistic_divergence(teacher, student, included=included)


METHODS = (
    Method(
        "pkt",
        ProbabilisticKnowledgeTransfer,
        paper="Passalis and Tefas, 2018, arXiv:1803.10837",
        signals="feature",
        weight=30000.0,
        student_loss_weight=1.0,
        when="Embeddings whose neighbourhoods matter: retrieval.",
    ),
)
