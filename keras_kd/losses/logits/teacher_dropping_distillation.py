"""The teacher that the student matches worst is never left out."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.layers.teacher_dropping import TeacherDropping
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.several_teachers import SeveralTeachers
from keras_kd.losses.registry import Method
from keras_kd.ops.selection import weighted


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherDroppingDistillation(SeveralTeachers):
    """Distillation from several teachers with teacher dropping.

    The mean of T² KL(p_k ‖ q) over the teachers k that are kept: of each example or
    token, the one with the largest value always, any other with probability
    1 − drop_rate. Without it the teachers that are easy to match rule the gradient. In
    evaluation all are kept. For the teacher `keras_kd.teachers.Ensemble`.

    The state of the random numbers is saved with the Distiller.

    Args:
        num_teachers: The number K of teachers, at least 2.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 4.0.
        drop_rate: The probability to drop a teacher, from 0 to 1, or a schedule.
            Defaults to 0.5, as published.
        seed: Seed of the draws, or None.
        name: The name in the logs. Defaults to "teacher_dropping_distillation".

    Raises:
        ValueError: If `num_teachers` is not an integer of at least 2, `temperature` is
            not positive, `drop_rate` is not from 0 to 1, the teacher is not an ensemble
            of that many, or the outputs do not hold logits of the same classes.

    Example:
    >>> loss = TeacherDroppingDistillation(2, temperature=1.0)
    >>> logits = keras.KerasTensor((None, 2))
    >>> loss.build([logits, logits], logits)
    >>> teachers = [np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])]
    >>> step = keras_kd.StepContext(training=False)
    >>> round(float(loss.call(teachers, np.zeros((1, 2)), step)[0]), 4)
    0.184

    Reference: Sariyildiz et al., 2024, UNIC, arXiv:2408.05088, who drop teachers of
    features; weight 1. Their code averages over all kept pairs of example and teacher
    at once; here, as its comment says, each example counts alike, and so do the sample
    weights.
    """

    drop_rate = Hyperparameter(minimum=0, maximum=1)

    def __init__(
        self,
        num_teachers: int,
        temperature: Scalar = 4.0,
        drop_rate: Scalar = 0.5,
        seed: int | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(num_teachers, temperature, name=name)
        self.drop_rate = drop_rate
        self.seed = seed
        self._dropping: list[Any] = []

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return list(self._dropping)

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if not self._dropping:
            layer = TeacherDropping(self.seed, name=f"{self.name}_draws")
            layer.build()
            self._dropping.append(layer)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        _, values = self.divergences(teacher, student, step)
        (dropping,) = self._dropping
        kept = dropping(
            values,
            drop_rate=step.value(self, "drop_rate"),
            training=bool(step.training),
        )
        return ops.sum(weighted(kept, values), axis=0) / ops.sum(kept, axis=0)


METHODS = (
    Method(
        "teacher_dropping",
        TeacherDroppingDistillation,
        paper="Sariyildiz et al., 2024, UNIC, arXiv:2408.05088",
        signals="teachers",
        weight=1.0,
        student_loss_weight=0.0,
        when="Several teachers, of which one is easier to match than the others.",
    ),
)
