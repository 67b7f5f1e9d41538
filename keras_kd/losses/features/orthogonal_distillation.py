"""The student's features are the teacher's, but for a rotation."""

from typing import Any

import keras
from keras import ops

from keras_kd.layers.orthogonal_projector import OrthogonalProjector
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.projected_comparison import ProjectedComparison
from keras_kd.losses.features.shapes import is_channels_first, width_of
from keras_kd.losses.registry import Method


@keras.saving.register_keras_serializable(package="keras_kd")
class OrthogonalDistillation(ProjectedComparison):
    """Distillation through an orthogonal projector: VkD.

    Huber(LayerNorm(t), W s), averaged over the channels, where W has orthonormal rows,
    or columns, and trains with the student; the normalisation has no parameters. One
    value per position.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        name: The name in the logs. Defaults to "orthogonal_distillation".

    Raises:
        ValueError: If the features differ in rank or length, or are images with
            channels first.

    Example:
    >>> loss = OrthogonalDistillation("embedding", "embedding")
    >>> loss.build(keras.KerasTensor((None, 6)), keras.KerasTensor((None, 4)))
    >>> loss.layers[0].width
    6

    Reference: Miles et al., 2024, arXiv:2403.06213.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_layer_name, student_layer_name, name=name)

    def _projector_for(self, teacher: Any, student: Any) -> Any:
        super()._projector_for(teacher, student)  # the checks
        if is_channels_first(student):
            raise ValueError(
                "OrthogonalDistillation needs images with their channels last. "
                f"Received: student {tuple(student.shape)}. Use "
                "`keras.config.set_image_data_format('channels_last')`."
            )
        layer = OrthogonalProjector(width_of(teacher), name=f"{self.name}_projector")
        layer.build(tuple(student.shape))
        return layer

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss, step
        gap = ops.abs(student - _layer_normalized(teacher))
        huber = ops.where(gap < 1.0, 0.5 * ops.square(gap), gap - 0.5)
        return ops.mean(huber, axis=-1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["projector"]
        return config


METHODS = (
    Method(
        "vkd",
        OrthogonalDistillation,
        paper="Miles et al., 2024, arXiv:2403.06213",
        signals="feature",
        weight=1.0,
        student_loss_weight=1.0,
        when="Last features of transformers; the projector cannot do the "
        "student's work.",
    ),
)


def _layer_normalized(features: Any) -> Any:
    mean = ops.mean(features, axis=-1, keepdims=True)
    centred = features - mean
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return centred / ops.sqrt(variance + 1e-5)
