"""The student's channels correlate with the teacher's, whatever their scales."""

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


@keras.saving.register_keras_serializable(package="keras_kd")
class PearsonDistillation(BatchStatisticsComparison):
    """Distillation of standardised features: detectors of different kinds.

    ½ (z(t) − z(s))², averaged over the channels, where z brings each channel to mean 0
    and standard deviation 1 over batch and positions: 1 minus Pearson's correlation,
    on average. One value per position.

    Examples without weight or masked, and masked positions of a sequence, are left out
    of the statistics; other weights do not change them. Under several replicas they are
    those of each replica's share. A single vector has no spread: 0.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        projector: As in `FeatureDistillation`. Defaults to "auto".
        name: The name in the logs. Defaults to "pearson_distillation".

    Raises:
        ValueError: If `projector` is not one of these, or the features cannot be
            brought to one shape.

    Example:
    >>> loss = PearsonDistillation("neck", "neck")
    >>> features = np.arange(24.0).reshape((2, 2, 2, 3))
    >>> abs(round(float(loss.compute_loss(features, 5.0 * features - 1.0)), 6))
    0.0

    Reference: Cao et al., 2022, PKD, arXiv:2207.02039, whose weight is 6 or 10.
    """

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss
        included = included_positions(step, student)
        gap = standardized_channels(teacher, included=included)
        gap -= standardized_channels(student, included=included)
        return 0.5 * ops.mean(ops.square(gap), axis=-1)


METHODS = (
    Method(
        "pkd",
        PearsonDistillation,
        paper="Cao et al., 2022, arXiv:2207.02039",
        signals="feature",
        weight=6.0,
        student_loss_weight=1.0,
        when="Detectors of different kinds, whose features differ in scale.",
    ),
)
