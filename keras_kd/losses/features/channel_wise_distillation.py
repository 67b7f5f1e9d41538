"""Each channel of the student lights up where the teacher's does."""

from typing import Any

import keras

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.projected_comparison import ProjectedComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.feature_maps import channel_wise_kl_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class ChannelWiseDistillation(ProjectedComparison):
    """Channel-wise distillation for dense prediction.

    The mean over the channels of T² KL(p ‖ q), where p and q are the softmax over the
    positions of a channel of the teacher's and of the student's map, at temperature T.
    On features, with a projector where widths differ, or on the logits of a
    segmentation. One value per example.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        temperature: Positive number T, or a `LearningRateSchedule`. Published: 1 to 4.
            Defaults to 4.0.
        projector: As in `FeatureDistillation`. Defaults to "auto".
        name: The name in the logs. Defaults to "channel_wise_distillation".

    Raises:
        ValueError: If `temperature` is not positive, `projector` is not one of these,
            or the features cannot be brought to one shape.

    Example:
    >>> loss = ChannelWiseDistillation("stage_3", "stage_3")
    >>> features = np.ones((2, 4, 4, 3))
    >>> float(loss.compute_loss(features, features))
    0.0

    Reference: Shu et al., 2021, arXiv:2011.13256; weight 50 on features, 3 on logits.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        temperature: Scalar = 4.0,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(
            teacher_layer_name,
            student_layer_name,
            projector=projector,
            name=name,
        )
        self.temperature = temperature

    def distance(self, loss: Any, teacher: Any, student: Any, step: StepContext) -> Any:
        del loss
        temperature = step.value(self, "temperature")
        return channel_wise_kl_divergence(teacher, student, temperature=temperature)


METHODS = (
    Method(
        "cwd",
        ChannelWiseDistillation,
        paper="Shu et al., 2021, arXiv:2011.13256",
        signals="feature",
        weight=50.0,
        student_loss_weight=1.0,
        when="Dense prediction: segmentation and detection.",
    ),
)
