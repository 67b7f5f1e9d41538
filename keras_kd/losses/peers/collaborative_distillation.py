"""Students that train together learn from the best of what they jointly know."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.peers.base import PeerComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.ensembles import best_logits, lowest_margin_logits
from keras_kd.ops.target_classes import names_class

_COMBINES = ("mean", "best", "lowest_margin")


@keras.saving.register_keras_serializable(package="keras_kd")
class CollaborativeDistillation(PeerComparison):
    """Online distillation from the students' joint logits: KDCL; reads the labels.

    Σ_k T² KL(softmax(z / T) ‖ p_k) over the students, where the joint logits z carry
    no gradient: the students' mean ("mean"); for each example those of the student
    with the lowest cross-entropy ("best", KDCL-Naive); or, class by class, the lowest
    distance to the label's logit, min_k (z_k − z_k[label]) ("lowest_margin",
    KDCL-MinLogit). One value per example or token; one whose label names no class is
    left out, except for "mean", which reads no labels.

    Args:
        combine: One of these. Defaults to "best".
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 2.0.
        name: The name in the logs. Defaults to "collaborative_distillation".

    Raises:
        ValueError: If `combine` is not one of these, `temperature` is not positive, the
            outputs are not the logits of several students, or there are no labels that
            fit ("mean" needs none).

    Example:
    >>> loss = CollaborativeDistillation("mean", temperature=1.0)
    >>> logits = [keras.ops.array([[0.0, 1.0]]), keras.ops.array([[0.0, 1.0]])]
    >>> float(loss.call(None, logits, keras_kd.StepContext())[0])
    0.0

    Reference: Guo et al., 2020, Online knowledge distillation via collaborative
    learning, CVPR; weight 1 beside a task loss of weight 1, T 2. They also draw an
    augmentation for each student.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        combine: str = "best",
        temperature: Scalar = 2.0,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if combine not in _COMBINES:
            raise ValueError(
                f"`combine` must be one of {', '.join(_COMBINES)}. "
                f"Received: combine={combine!r}"
            )
        self.combine = combine
        self.temperature = temperature

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        temperature = step.value(self, "temperature")
        together = ops.stack([ops.cast(logits, "float32") for logits in student])
        fixed = ops.stop_gradient(together)
        labels = None if self.combine == "mean" else self.labels(step, student)
        if labels is None:
            joint = ops.mean(fixed, axis=0)
        elif self.combine == "best":
            joint = best_logits(fixed, labels)
        else:
            joint = lowest_margin_logits(fixed, labels)
        targets = ops.broadcast_to(ops.expand_dims(joint, 0), ops.shape(together))
        value = ops.sum(kl_divergence(targets, together, temperature=temperature), 0)
        if labels is None:
            return value
        return only_valid(names_class(labels, joint.shape[-1]), value)


METHODS = (
    Method(
        "kdcl",
        CollaborativeDistillation,
        paper="Guo et al., 2020, CVPR",
        signals="peers",
        weight=1.0,
        student_loss_weight=1.0,
        when="As dml, where one peer is better than the others.",
        labels=True,
    ),
    Method(
        "kdcl_minlogit",
        CollaborativeDistillation,
        paper="Guo et al., 2020, CVPR",
        signals="peers",
        weight=1.0,
        student_loss_weight=1.0,
        when="As kdcl, with a target that no single peer gives.",
        defaults={"combine": "lowest_margin"},
        labels=True,
    ),
)
