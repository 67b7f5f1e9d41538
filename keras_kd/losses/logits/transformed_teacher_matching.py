"""Temperature on the teacher alone."""

from typing import Any

import keras

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.transformed_teacher import transformed_teacher_kl_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class TransformedTeacherMatching(ClassComparison):
    """Transformed teacher matching (TTM), and weighted (WTTM).

    KL(p^γ / Σ p^γ ‖ softmax(s)) with p = softmax(t), one value per example or token;
    WTTM multiplies it by Σ p^γ. A temperature of 1/γ, on the teacher only: the student
    is also kept from being too sure of itself. There is no factor T².

    Args:
        gamma: Positive exponent γ, or a `LearningRateSchedule`; 1/γ is the teacher's
            temperature. Published: 0.1 to 0.2. Defaults to 0.1.
        weighted: Whether to multiply by Σ p^γ, from 1 where the teacher is sure to
            C^(1 − γ) where all C classes are alike (γ below 1). Defaults to False.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "transformed_teacher_matching".

    Raises:
        ValueError: If `gamma` is not positive, or the outputs do not hold logits of the
            same classes.

    Example:
    >>> loss = TransformedTeacherMatching(gamma=1.0)
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> abs(round(float(loss.compute_loss(logits, logits)), 5))
    0.0

    Reference: Zheng and Yang, 2024, arXiv:2402.11148: beside a student loss of weight
    1, a weight of 45 (TTM, γ 0.1) and from 4 (WTTM, γ 0.2).
    """

    gamma = Hyperparameter(above=0)

    def __init__(
        self,
        gamma: Scalar = 0.1,
        *,
        weighted: bool = False,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        self.gamma = gamma
        self.weighted = weighted

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        return transformed_teacher_kl_divergence(
            teacher,
            student,
            gamma=step.value(self, "gamma"),
            weighted=self.weighted,
        )


METHODS = (
    Method(
        "ttm",
        TransformedTeacherMatching,
        paper="Zheng and Yang, 2024, arXiv:2402.11148",
        signals="outputs",
        weight=45.0,
        student_loss_weight=1.0,
        when="As plain KD, and the student shall not be too sure of itself.",
        defaults={"gamma": 0.1},
    ),
    Method(
        "wttm",
        TransformedTeacherMatching,
        paper="Zheng and Yang, 2024, arXiv:2402.11148",
        signals="outputs",
        weight=4.0,
        student_loss_weight=1.0,
        when="As ttm, with more weight where the teacher is unsure.",
        defaults={"gamma": 0.2, "weighted": True},
    ),
)
