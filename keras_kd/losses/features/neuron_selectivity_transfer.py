"""The student's neurons respond to the same parts of an image as the teacher's."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.features.base import FeatureComparison
from keras_kd.losses.features.shapes import (
    channels_last,
    check_same_rank,
    same_spatial_size,
)
from keras_kd.losses.registry import Method
from keras_kd.ops.feature_maps import neuron_selectivity_distance


@keras.saving.register_keras_serializable(package="keras_kd")
class NeuronSelectivityTransfer(FeatureComparison):
    """Distillation of the distribution of channel maps: NST.

    The squared maximum mean discrepancy, with the kernel (a · b)², between the
    teacher's channels and the student's, each at unit L2 norm over the positions. The
    widths may differ; the larger of two images is averaged down. One value per
    example.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
        student_layer_name: The same for the student.
        name: The name in the logs. Defaults to "neuron_selectivity_transfer".

    Raises:
        ValueError: If the features have no positions, or sequences differ in length.

    Example:
    >>> loss = NeuronSelectivityTransfer("stage_3", "stage_3")
    >>> abs(
    ...     round(
    ...         float(loss.compute_loss(np.ones((1, 4, 4, 8)), np.ones((1, 4, 4, 2)))),
    ...         6,
    ...     )
    ... )
    0.0

    Reference: Huang and Wang, 2017, arXiv:1707.01219; weight 50.
    """

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        check_same_rank(teacher, student, loss_name=type(self).__name__)
        if len(student.shape) < 3:
            raise ValueError(
                "NeuronSelectivityTransfer compares maps `(batch, ..., channels)` with "
                f"positions. Received: teacher {tuple(teacher.shape)}, student "
                f"{tuple(student.shape)}. Tap a layer before the global pooling."
            )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del step
        pair = [
            channels_last(ops.cast(features, "float32"))
            for features in (teacher, student)
        ]
        return neuron_selectivity_distance(*same_spatial_size(*pair))


METHODS = (
    Method(
        "nst",
        NeuronSelectivityTransfer,
        paper="Huang and Wang, 2017, arXiv:1707.01219",
        signals="feature",
        weight=50.0,
        student_loss_weight=1.0,
        when="Convnets of any widths, and no projector wanted.",
    ),
)
