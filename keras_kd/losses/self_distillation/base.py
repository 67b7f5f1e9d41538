"""The part that the losses on the student's own output share."""

from typing import Any

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.logits.class_comparison import check_logits, check_one_output
from keras_kd.signals.output import Output


class OwnOutput(DistillationLoss):
    """A loss on one output of the student, without any teacher.

    Args:
        temperature: Positive number, or a `LearningRateSchedule`.
        output: The name or index of the student's output, or None.
        name: The name in the logs, or None for the default.

    Raises:
        ValueError: If `temperature` is not positive.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self, temperature: Scalar, *, output: Any = None, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.temperature = temperature
        self.output = output
        self._output = Output(output)

    def teacher_signals(self) -> Any:
        return None

    def student_signals(self) -> Any:
        return self._output

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where the student's output does not hold the logits of classes.

        Raises:
            ValueError: If it does not.
        """
        del teacher_outputs
        name = type(self).__name__
        check_one_output(student_outputs, side="student", loss_name=name)
        shape = tuple(student_outputs.shape)
        if len(shape) < 2 or shape[-1] in (0, 1):
            raise ValueError(
                f"{name} needs an output `(batch, ..., classes)` with at least 2 "
                f"classes on the last axis. Received: student {shape}."
            )

    def check(self, teacher: Any, student: Any) -> None:
        del teacher
        check_logits(student, side="student", loss_name=type(self).__name__)
