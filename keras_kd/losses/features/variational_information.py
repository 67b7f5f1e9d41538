"""The student keeps as much of the teacher's information as it can."""

from typing import Any

import keras
from keras import ops

from keras_kd.layers.statistics import ChannelVariance
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.projected_comparison import ProjectedComparison
from keras_kd.losses.features.shapes import width_of
from keras_kd.losses.registry import Method


@keras.saving.register_keras_serializable(package="keras_kd")
class VariationalInformation(ProjectedComparison):
    """Variational information distillation: hints that may be unsure.

    ½ ((μ(s) − t)² / σ² + log σ²), averaged over the channels: the negative logarithm
    of a Gaussian's density at the teacher's feature, with the student's projected
    feature μ(s) as its mean, and a variance σ² of each channel that trains too. The
    value may be negative. One value per position.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        initial_variance: The first σ², positive. Defaults to 5.0.
        projector: As in `FeatureDistillation`: a linear map where the widths differ.
            The paper has three 1×1 convolutions.
        name: The name in the logs. Defaults to "variational_information".

    Raises:
        ValueError: If `initial_variance` is not above 1e-5, `projector` is not one of
            these, or the features cannot be brought to one shape.

    Example:
    >>> loss = VariationalInformation("stage_3", "stage_3")
    >>> feature = keras.KerasTensor((None, 8, 8, 4))
    >>> loss.build(feature, feature)
    >>> [layer.name for layer in loss.layers]
    ['variational_information_variance']

    Reference: Ahn et al., 2019, arXiv:1904.05835; weight 1.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        initial_variance: float = 5.0,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(
            teacher_layer_name,
            student_layer_name,
            projector=projector,
            name=name,
        )
        if (
            not isinstance(initial_variance, (int, float))
            or not initial_variance > 1e-5
        ):
            raise ValueError(
                "`initial_variance` must be a number above 1e-5. "
                f"Received: initial_variance={initial_variance!r}"
            )
        self.initial_variance = initial_variance
        self._variance: Any = None

    @property
    def layers(self) -> list[keras.layers.Layer]:
        own = [] if self._variance is None else [self._variance]
        return super().layers + own

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._variance is None:
            layer = ChannelVariance(self.initial_variance, name=f"{self.name}_variance")
            layer.build((None, width_of(teacher)))
            self._variance = layer

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss, step
        variance = self._variance(student)
        each = ops.square(student - teacher) / variance + ops.log(variance)
        return 0.5 * ops.mean(each, axis=-1)


METHODS = (
    Method(
        "vid",
        VariationalInformation,
        paper="Ahn et al., 2019, arXiv:1904.05835",
        signals="feature",
        weight=1.0,
        student_loss_weight=1.0,
        when="As hint, where some of the teacher's channels cannot be imitated.",
    ),
)
