"""Each of several teachers counts as far as it is right about the example."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_same_classes
from keras_kd.losses.logits.classes import check_logits, check_one_output, class_labels
from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.ensembles import confidence_weights
from keras_kd.taps import Output, Tap


@keras.saving.register_keras_serializable(package="keras_kd")
class ConfidenceWeightedDistillation(DistillationLoss):
    """Confidence-aware distillation from several teachers: CA-MKD; reads the labels.

    T² Σ_k w_k KL(p_k ‖ q), with w_k = (1 − softmax_k(CE_k)) / (K − 1), where CE_k is
    the cross-entropy of teacher k and the label. One value per example or token. For
    the teacher `keras_kd.teachers.Ensemble`.

    Args:
        num_teachers: The number K of teachers, at least 2.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 4.0.
        name: The name in the logs. Defaults to "confidence_weighted_distillation".

    Raises:
        ValueError: An argument is none of these, the teacher is no ensemble of that
            many, the outputs do not fit, or there are no labels.

    Example:
    >>> loss = ConfidenceWeightedDistillation(2)
    >>> [tap.layer for tap in loss.teacher_signals()]
    ['teachers[0]', 'teachers[1]']

    Reference: Zhang, Chen and Wang, 2022, arXiv:2201.00007; weight 1.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        num_teachers: int,
        temperature: Scalar = 4.0,
        *,
        name: str | None = None,
    ) -> None:
        if not isinstance(num_teachers, int) or num_teachers < 2:
            raise ValueError(
                "`num_teachers` must be an integer of at least 2. "
                f"Received: num_teachers={num_teachers!r}"
            )
        self.num_teachers = num_teachers
        self.temperature = temperature
        self._taps = [Tap(f"teachers[{place}]") for place in range(num_teachers)]
        self._output = Output()
        if name is not None:
            self.name = name

    def teacher_signals(self) -> Any:
        return self._taps

    def student_signals(self) -> Any:
        return self._output

    def bind(self, teacher: Any, student: Any) -> None:
        members = getattr(teacher, "teachers", None)
        if not isinstance(members, (list, tuple)) or len(members) != self.num_teachers:
            found = f"of {len(members)}" if isinstance(members, (list, tuple)) else "no"
            raise ValueError(
                f"ConfidenceWeightedDistillation needs an ensemble of "
                f"{self.num_teachers} teachers. Received: {found} ensemble, "
                f"teacher={teacher!r}. Use `keras_kd.teachers.Ensemble`."
            )
        super().bind(teacher, student)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where a teacher's logits are not those of the student's classes."""
        for answer in (*teacher_outputs, student_outputs):
            side = "student" if answer is student_outputs else "teacher"
            check_one_output(answer, side=side, loss_name=type(self).__name__)
        for answer in teacher_outputs:
            check_same_classes(
                answer,
                student_outputs,
                minimum=2,
                loss_name=type(self).__name__,
                remedy="Give one logit per class.",
            )

    def check(self, teacher: Any, student: Any) -> None:
        for answer in teacher:
            check_logits(answer, side="teacher", loss_name=type(self).__name__)
        check_logits(student, side="student", loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        labels = class_labels(step.y, student, key=None, loss_name=type(self).__name__)
        answers = ops.stack([ops.cast(answer, "float32") for answer in teacher])
        values = kl_divergence(
            answers,
            ops.broadcast_to(ops.expand_dims(student, 0), ops.shape(answers)),
            temperature=step.value(self, "temperature"),
        )
        return ops.sum(confidence_weights(answers, labels) * values, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_teachers": self.num_teachers}
