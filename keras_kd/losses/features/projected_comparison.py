"""The part that losses with a distance of their own share with hints: the projector."""

from typing import Any

from keras_kd.losses.context import StepContext
from keras_kd.losses.features.feature_distillation import FeatureDistillation
from keras_kd.losses.left_out import kept_signals


class ProjectedComparison(FeatureDistillation):
    """A loss on one layer of each side, projected and resized as hints are.

    Its `distance` compares the two features; the argument `loss` of hints is gone.

    Args:
        teacher_layer_name: The teacher's layer: a path, a layer object or a `Tap`.
            None for the model's output.
        student_layer_name: The same for the student.
        projector: As in `FeatureDistillation`. Defaults to "auto".
        name: The name in the logs, or None for the default.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        projector: Any = "auto",
        name: str | None = None,
    ) -> None:
        super().__init__(
            "mse",  # one comparison for one output; what it is, `distance` says
            teacher_layer_name,
            student_layer_name,
            projector=projector,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["loss"]
        return config


class BatchStatisticsComparison(ProjectedComparison):
    """A loss whose value depends on statistics of the batch.

    What is left out, examples and masked positions of a sequence, is taken out before
    the projector: in the statistics it would reach all others.
    """

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        teacher = kept_signals(step, "teacher", teacher)
        student = kept_signals(step, "student", student)
        return super().call(teacher, student, step)
