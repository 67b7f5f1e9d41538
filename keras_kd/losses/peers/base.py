"""The part that the losses among students share: their outputs and their labels."""

from typing import Any

from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_same_classes
from keras_kd.losses.logits.class_comparison import check_logits, class_labels
from keras_kd.signals.output import Output


class PeerComparison(DistillationLoss):
    """A loss among the outputs of a group of students.

    Args:
        name: The name in the logs, or None for the default.
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._output = Output()

    def teacher_signals(self) -> Any:
        return None

    def student_signals(self) -> Any:
        return self._output

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where there are no two students, or their classes differ."""
        del teacher_outputs
        name = type(self).__name__
        if not isinstance(student_outputs, (list, tuple)) or len(student_outputs) < 2:
            raise ValueError(
                f"{name} needs the outputs of at least two students. Received: "
                f"{student_outputs!r}. Make the student a `keras_kd.students.PeerGroup`"
                " or a `BranchedStudent`."
            )
        for logits in student_outputs[1:]:
            check_same_classes(
                student_outputs[0],
                logits,
                minimum=2,
                loss_name=name,
                remedy="Give one logit per class.",
            )

    def check(self, teacher: Any, student: Any) -> None:
        del teacher
        for logits in student:
            check_logits(logits, side="student", loss_name=type(self).__name__)

    def labels(self, step: StepContext, logits: Any) -> Any:
        """Return the labels, which all students share."""
        y = step.y[0] if isinstance(step.y, (list, tuple)) else step.y
        return class_labels(y, logits[0], key=None, loss_name=type(self).__name__)
