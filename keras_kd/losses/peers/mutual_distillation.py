"""Students that train together learn each other's logits."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.peers.base import PeerComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import kl_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class MutualDistillation(PeerComparison):
    """Deep mutual learning: each student learns the others' present logits.

    Σ_k 1 / (K − 1) Σ_{l ≠ k} T² KL(p_l ‖ p_k) over the K students, where p_l carries
    no gradient. One value per example or token. With `teachers`, only those are
    learned from, by all the others: a teacher and a student that train together.

    Args:
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 1.0.
        teachers: The indices of those that are learned from and learn from nobody, a
            list of integers. Defaults to None: all learn from all.
        name: The name in the logs. Defaults to "mutual_distillation".

    Raises:
        ValueError: If `temperature` is not positive, `teachers` is not a list of some
            of the students, or the outputs are not the logits of several students.

    Example:
    >>> loss = MutualDistillation()
    >>> logits = [keras.ops.array([[0.0, 1.0]]), keras.ops.array([[0.0, 1.0]])]
    >>> float(loss.call(None, logits, keras_kd.StepContext())[0])
    0.0

    Reference: Zhang et al., 2018, arXiv:1706.00384; weight 1 beside a task loss of
    weight 1. They update one student after the other; here one step updates all.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        temperature: Scalar = 1.0,
        *,
        teachers: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.temperature = temperature
        is_list = isinstance(teachers, (list, tuple)) and len(teachers) > 0
        if teachers is not None and not (
            is_list and all(isinstance(t, int) and t >= 0 for t in teachers)
        ):
            raise ValueError(
                "`teachers` must be None or a list of indices from 0. "
                f"Received: teachers={teachers!r}"
            )
        self.teachers = None if teachers is None else list(teachers)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        super().validate_outputs(teacher_outputs, student_outputs)
        count = len(student_outputs)
        given = self.teachers
        if given is not None and (max(given) >= count or len(set(given)) >= count):
            raise ValueError(
                "`teachers` must name some of the students, not all. Received: "
                f"teachers={given}, for {count} students."
            )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        temperature = step.value(self, "temperature")
        everyone = range(len(student))
        fixed = [ops.stop_gradient(answer) for answer in student]
        total = ops.zeros(ops.shape(student[0])[:-1])
        for learner in everyone:
            sources = everyone if self.teachers is None else self.teachers
            others = [place for place in sources if place != learner]
            if self.teachers is not None and learner in self.teachers:
                continue
            for other in others:
                total += kl_divergence(
                    fixed[other], student[learner], temperature=temperature
                ) / len(others)
        return total


METHODS = (
    Method(
        "dml",
        MutualDistillation,
        paper="Zhang et al., 2018, arXiv:1706.00384",
        signals="peers",
        weight=1.0,
        student_loss_weight=1.0,
        when="No teacher: two or more students that train together.",
    ),
)
