"""The part that the losses on the teachers of an ensemble, one by one, share."""

from typing import Any

from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_same_classes
from keras_kd.losses.logits.class_comparison import check_logits, check_one_output
from keras_kd.ops.divergences import kl_divergence
from keras_kd.signals.output import Output
from keras_kd.signals.tap import Tap


class SeveralTeachers(DistillationLoss):
    """A loss on the student's logits and those of each teacher of an `Ensemble`.

    Args:
        num_teachers: The number K of teachers, at least 2.
        temperature: Positive number T, or a `LearningRateSchedule`.
        name: The name in the logs, or None for the default.

    Raises:
        ValueError: If `num_teachers` is not an integer of at least 2, `temperature` is
            not positive, the teacher is not an ensemble of that many, or the outputs do
            not hold logits of the same classes.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self, num_teachers: int, temperature: Scalar, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        check_num_teachers(num_teachers)
        self.num_teachers = num_teachers
        self.temperature = temperature
        self._taps = [Tap(f"teachers[{index}]") for index in range(num_teachers)]
        self._output = Output()

    def teacher_signals(self) -> Any:
        return self._taps

    def student_signals(self) -> Any:
        return self._output

    def bind(self, teacher: Any, student: Any) -> None:
        check_ensemble(teacher, self.num_teachers, loss_name=type(self).__name__)
        super().bind(teacher, student)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where a teacher's logits are not those of the student's classes."""
        for logits in (*teacher_outputs, student_outputs):
            side = "student" if logits is student_outputs else "teacher"
            check_one_output(logits, side=side, loss_name=type(self).__name__)
        for logits in teacher_outputs:
            check_same_classes(
                logits,
                student_outputs,
                minimum=2,
                loss_name=type(self).__name__,
                remedy="Give one logit per class.",
            )

    def check(self, teacher: Any, student: Any) -> None:
        for logits in teacher:
            check_logits(logits, side="teacher", loss_name=type(self).__name__)
        check_logits(student, side="student", loss_name=type(self).__name__)

    def divergences(
        self, teacher: Any, student: Any, step: StepContext
    ) -> tuple[Any, Any]:
        """Return the teachers' logits, stacked, and T² · KL(p_k ‖ q) of each.

        Returns:
            A pair of tensors, of shape `(teachers, ..., classes)` and
            `(teachers, ...)`, float32.
        """
        answers = ops.stack([ops.cast(answer, "float32") for answer in teacher])
        values = kl_divergence(
            answers,
            ops.broadcast_to(ops.expand_dims(student, 0), ops.shape(answers)),
            temperature=step.value(self, "temperature"),
        )
        return answers, values


def check_num_teachers(num_teachers: Any) -> None:
    """Raise where this is no number of several teachers.

    Raises:
        ValueError: If it is not an integer of at least 2.
    """
    if not isinstance(num_teachers, int) or num_teachers < 2:
        raise ValueError(
            "`num_teachers` must be an integer of at least 2. "
            f"Received: num_teachers={num_teachers!r}"
        )


def check_ensemble(teacher: Any, num_teachers: int, *, loss_name: str) -> None:
    """Raise where the teacher is not an ensemble of that many.

    Raises:
        ValueError: If it is not.
    """
    members = getattr(teacher, "teachers", None)
    if not isinstance(members, (list, tuple)) or len(members) != num_teachers:
        found = f"of {len(members)}" if isinstance(members, (list, tuple)) else "no"
        raise ValueError(
            f"{loss_name} needs an ensemble of "
            f"{num_teachers} teachers. Received: {found} ensemble, "
            f"teacher={teacher!r}. Use `keras_kd.teachers.Ensemble`."
        )
