"""The student's levels review each other before they are compared."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.layers.attention_fusion import AttentionFusion
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.shapes import (
    channels_last,
    same_spatial_size,
    width_of,
)
from keras_kd.losses.features.stage_comparison import StageComparison
from keras_kd.losses.left_out import included_rows, kept_signals
from keras_kd.losses.registry import Method
from keras_kd.ops.feature_maps import hierarchical_context_distance


@keras.saving.register_keras_serializable(package="keras_kd")
class ReviewDistillation(StageComparison):
    """Distillation by knowledge review: ReviewKD.

    From deep to shallow, each level of the student is fused with what was fused above
    it, and compared with the teacher's level: the mean squared difference at full
    resolution, and pooled to 4×4, 2×2 and 1×1 with weights that halve each time,
    divided by the sum of the weights; then summed over the levels. The fusing layers
    train with the student and are no part of it. One value per example.

    Args:
        teacher_layer_names: The teacher's layers, from shallow to deep: a list of
            paths, layer objects or `Tap`s.
        student_layer_names: The student's, as many.
        width: Number of channels that pass between the levels, at least 1. None for
            the teacher's largest width, at most 512.
        name: The name in the logs. Defaults to "review_distillation".

    Raises:
        ValueError: If the lists are empty or differ in length, `width` is not a
            positive integer, or a feature is not an image.

    Example:
    >>> loss = ReviewDistillation(["stage_1", "stage_2"], ["stage_1", "stage_2"])
    >>> len(loss.student_signals())
    2

    Reference: Chen et al., 2021, arXiv:2104.09044; weight 0.6 to 8 with a warm-up of 20
    of 240 epochs, on ImageNet 1. Their width is 512 or 256.
    """

    def __init__(
        self,
        teacher_layer_names: Sequence[Any],
        student_layer_names: Sequence[Any],
        *,
        width: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_layer_names, student_layer_names, name=name)
        if width is not None and (not isinstance(width, int) or width < 1):
            raise ValueError(
                f"`width` must be None or a positive integer. Received: width={width!r}"
            )
        self.width = width
        self._fusions: list[Any] = []

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return list(self._fusions)

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._fusions:
            return
        width = self.width or min(512, max(width_of(t) for t in teacher))
        for level, (t, s) in enumerate(zip(teacher, student, strict=True)):
            layer = AttentionFusion(
                width,
                width_of(t),
                fuses=level < len(student) - 1,
                dtype="float32",
                name=f"{self.name}_fusion_{level}",
            )
            layer.build((None, None, None, width_of(s)))
            self._fusions.append(layer)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        above, total = None, 0.0
        rows = included_rows(step, ops.shape(student[0])[0])
        teacher = kept_signals(step, "teacher", teacher)
        student = kept_signals(step, "student", student)
        for level in reversed(range(len(student))):
            above, fused = self._fusions[level](
                channels_last(student[level]),
                above,
                training=step.training,
                included=rows,
            )
            wanted = channels_last(teacher[level])
            total += hierarchical_context_distance(*same_spatial_size(wanted, fused))
        return total


METHODS = (
    Method(
        "review",
        ReviewDistillation,
        paper="Chen et al., 2021, ReviewKD, arXiv:2104.09044",
        signals="stages",
        weight=1.0,
        student_loss_weight=1.0,
        when="Convnets, where accuracy is worth a step that takes twice as long.",
        warmup=20 / 240,
    ),
)
