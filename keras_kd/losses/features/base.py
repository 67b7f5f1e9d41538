"""The part that all losses on one layer of each side share."""

from typing import Any

from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.logits.checks import check_finite


class FeatureComparison(DistillationLoss):
    """A loss that compares what one layer of each model produces.

    Args:
        teacher_layer_name: The teacher's layer: a path ("backbone/block_3/relu"), a
            layer object or a `Tap`. None for the model's output.
        student_layer_name: The same for the student.
        name: The name in the logs, or None for the default.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        self.teacher_signals()
        self.student_signals()

    def check(self, teacher: Any, student: Any) -> None:
        check_finite(teacher, side="teacher", loss_name=type(self).__name__)
        check_finite(student, side="student", loss_name=type(self).__name__)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "teacher_layer_name": address_config(
                self.teacher_layer_name, self.teacher_signals()
            ),
            "student_layer_name": address_config(
                self.student_layer_name, self.student_signals()
            ),
        }
