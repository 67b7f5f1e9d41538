"""The student looks where the teacher looks."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.features.base import FeatureComparison
from keras_kd.losses.features.shapes import channels_last, same_spatial_size
from keras_kd.losses.registry import Method
from keras_kd.ops.attention_maps import spatial_attention


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionTransfer(FeatureComparison):
    """Distillation of spatial attention maps.

    mean over the positions of (a(t) − a(s))², where a(f) is the mean of |f|^power over
    the channels with unit L2 norm over the positions. The widths may differ; the
    larger of two maps is averaged down to the smaller. One value per example.

    Args:
        teacher_layer_name: The teacher's layer, with images as output: a path, a layer
            object or a `Tap`. None for the model's output.
        student_layer_name: The same for the student.
        power: Positive exponent. Defaults to 2.0.
        name: The name in the logs. Defaults to "attention_transfer".

    Raises:
        ValueError: If `power` is not positive, or a feature is not an image.

    Example:
    >>> loss = AttentionTransfer("block_3", "block_2")
    >>> features = np.ones((2, 8, 8, 4))
    >>> float(loss.compute_loss(features, features))
    0.0

    Reference: Zagoruyko and Komodakis, 2017, arXiv:1612.03928. As in the authors' code
    the positions are averaged, which wants a weight of about 1000.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        power: float = 2.0,
        name: str | None = None,
    ) -> None:
        is_number = isinstance(power, (int, float)) and not isinstance(power, bool)
        if not is_number or not 0 < power < math.inf:
            raise ValueError(
                f"`power` must be a positive number. Received: power={power!r}"
            )
        super().__init__(teacher_layer_name, student_layer_name, name=name)
        self.power = float(power)

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for side, spec in (("teacher", teacher), ("student", student)):
            if not isinstance(spec, keras.KerasTensor) or len(spec.shape) != 4:
                raise ValueError(
                    "AttentionTransfer compares images, of shape `(batch, height, "
                    f"width, channels)`. Received: the {side}'s signal "
                    f"{getattr(spec, 'shape', spec)}. Tap a layer before the global "
                    "pooling; for transformers use `AttentionDistillation`."
                )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del step
        teacher, student = channels_last(teacher), channels_last(student)
        teacher, student = same_spatial_size(
            ops.cast(teacher, "float32"), ops.cast(student, "float32")
        )
        gap = spatial_attention(teacher, power=self.power) - spatial_attention(
            student, power=self.power
        )
        return ops.mean(ops.square(gap), axis=-1)


METHODS = (
    Method(
        "at",
        AttentionTransfer,
        paper="Zagoruyko and Komodakis, 2017, arXiv:1612.03928",
        signals="feature",
        weight=1000.0,
        student_loss_weight=1.0,
        when="Convnets of very different widths.",
    ),
)
