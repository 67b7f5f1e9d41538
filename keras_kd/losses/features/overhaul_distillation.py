"""The student imitates what of the teacher's features passes its ReLU."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.layers.normalization import MaskedBatchNormalization
from keras_kd.layers.statistics import NegativeMean
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.shapes import (
    channels_last,
    same_spatial_size,
    width_of,
)
from keras_kd.losses.features.stage_comparison import StageComparison
from keras_kd.losses.left_out import included_rows, kept_signals
from keras_kd.losses.registry import Method
from keras_kd.ops.feature_maps import partial_squared_distance


@keras.saving.register_keras_serializable(package="keras_kd")
class OverhaulDistillation(StageComparison):
    """A comprehensive overhaul of feature distillation: OFD.

    Σ over the levels i of 2^−(L−1−i) · Σ over positions and channels of (s − t')²,
    without what both sides' ReLU would cut off anyway (s ≤ t' ≤ 0), where t' is the
    teacher's feature before its ReLU, no lower than its margin: the mean of its
    negative values. s is the student's feature through a 1×1 convolution and batch
    normalisation. One value per example.

    Args:
        teacher_layer_names: The teacher's layers before their ReLU (the batch
            normalisations, usually), from shallow to deep: a list of paths, layer
            objects or `Tap`s.
        student_layer_names: The student's, as many.
        name: The name in the logs. Defaults to "overhaul_distillation".

    Raises:
        ValueError: If the lists are empty or differ in length, or a feature is not an
            image.

    Example:
    >>> loss = OverhaulDistillation(["bn_1", "bn_2"], ["bn_1", "bn_2"])
    >>> [tap.layer for tap in loss.teacher_signals()]
    ['bn_1', 'bn_2']

    Reference: Heo et al., 2019, arXiv:1904.01866; weight 1e-3, on ImageNet 1e-4. They
    compute the margin from the teacher's batch normalisation, as if its outputs were
    Gaussian; here it is the mean itself, over the batches so far, for any teacher.
    """

    def __init__(
        self,
        teacher_layer_names: Sequence[Any],
        student_layer_names: Sequence[Any],
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_layer_names, student_layer_names, name=name)
        self._connectors: list[Any] = []
        self._margins: list[Any] = []

    @property
    def layers(self) -> list[keras.layers.Layer]:
        connectors = [layer for pair in self._connectors for layer in pair]
        return connectors + self._margins

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._connectors:
            return
        for level, (t, s) in enumerate(zip(teacher, student, strict=True)):
            wanted, given = width_of(t), width_of(s)
            linear = keras.layers.Dense(
                wanted, use_bias=False, dtype="float32", name=f"{self.name}_map_{level}"
            )
            linear.build((None, None, None, given))
            normalization = MaskedBatchNormalization(
                dtype="float32", name=f"{self.name}_normalization_{level}"
            )
            normalization.build((None, None, None, wanted))
            margin = NegativeMean(name=f"{self.name}_margin_{level}")
            margin.build((None, None, None, wanted))
            self._connectors.append((linear, normalization))
            self._margins.append(margin)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        total = 0.0
        levels = len(student)
        rows = included_rows(step, ops.shape(student[0])[0])
        teacher = kept_signals(step, "teacher", teacher)
        student = kept_signals(step, "student", student)
        for level, (t, s) in enumerate(zip(teacher, student, strict=True)):
            t, s = channels_last(t), channels_last(s)
            how = {"training": step.training, "included": rows}
            linear, normalization = self._connectors[level]
            s = normalization(linear(s), **how)
            t, s = same_spatial_size(t, s)
            margin = self._margins[level](t, **how)
            value = partial_squared_distance(t, s, margin=margin)
            total += value / 2.0 ** (levels - 1 - level)
        return total


METHODS = (
    Method(
        "ofd",
        OverhaulDistillation,
        paper="Heo et al., 2019, arXiv:1904.01866",
        signals="stages",
        weight=0.001,
        student_loss_weight=1.0,
        when="Convnets, on the layers before each stage's ReLU.",
    ),
)
