"""A linear projector, a batch normalisation and a high power."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.losses.features.projected_comparison import (
    BatchStatisticsComparison,
)
from keras_kd.losses.left_out import included_positions
from keras_kd.losses.registry import Method
from keras_kd.ops.feature_maps import standardized_channels

# Of equal features the logarithm would be −∞.
_SMALLEST = 1e-6


@keras.saving.register_keras_serializable(package="keras_kd")
class SimpleRecipeDistillation(BatchStatisticsComparison):
    """Simple recipe distillation: SRD.

    log Σ |z(W s) − z(t)|^power over the batch, the positions and the channels, where z
    is batch normalisation without parameters, and W a linear projector. The logarithm
    softens the last batches; the power lets large errors count. One value for the
    batch, and for each of its examples; it may be negative. A batch of one vector
    gives log 1e-6.

    Examples without weight or masked take no part, nor do masked positions of a
    sequence. Under several replicas the value is
    that of each replica's share.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        power: Number, at least 1. Defaults to 4.0.
        projector: As in `FeatureDistillation`. Defaults to "auto".
        name: The name in the logs. Defaults to "simple_recipe_distillation".

    Raises:
        ValueError: If `power` is below 1, `projector` is not one of these, or the
            features cannot be brought to one shape.

    Example:
    >>> loss = SimpleRecipeDistillation("embedding", "embedding")
    >>> features = np.arange(12.0).reshape((4, 3))
    >>> round(float(loss.compute_loss(features, 2.0 * features)), 2)
    -13.82

    Reference: Miles and Mikolajczyk, 2024, arXiv:2303.11098; on ImageNet weight 2
    beside plain distillation at T = 1.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        power: float = 4.0,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(
            teacher_layer_name,
            student_layer_name,
            projector=projector,
            name=name,
        )
        is_number = isinstance(power, (int, float)) and not isinstance(power, bool)
        if not is_number or not power >= 1:
            raise ValueError(
                f"`power` must be a number, at least 1. Received: power={power!r}"
            )
        self.power = float(power)

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss
        included = included_positions(step, student)
        gap = standardized_channels(student, included=included)
        gap -= standardized_channels(teacher, included=included)
        total = ops.sum(ops.power(ops.abs(gap), self.power))
        return ops.log(total + _SMALLEST) * ops.ones((ops.shape(student)[0],))


METHODS = (
    Method(
        "srd",
        SimpleRecipeDistillation,
        paper="Miles and Mikolajczyk, 2024, arXiv:2303.11098",
        signals="feature",
        weight=2.0,
        student_loss_weight=1.0,
        when="Last features of any two widths; beside plain KD.",
    ),
)
