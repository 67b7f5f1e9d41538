"""The student learns each prediction, and how examples and classes resemble."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Schedule, check_scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import kept_signals
from keras_kd.losses.logits.class_comparison import ClassComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.correlations import gram_distances
from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.standardize import standardize


@keras.saving.register_keras_serializable(package="keras_kd")
class MultiLevelLogitDistillation(ClassComparison):
    """Multi-level logit distillation (MLKD): predictions, examples and classes.

    Σ over temperatures T of T² KL(p ‖ q) + ‖P Pᵀ − Q Qᵀ‖² / B + ‖Pᵀ P − Qᵀ Q‖² / C,
    with the rows p of P = softmax(t / T) and q of Q = softmax(s / T), B examples and C
    classes. The value of an example holds its own KL divergence, its row of the second
    term, and the third, which is one for the batch.

    Examples without weight or masked take no part in the two products; the size of a
    weight does not change them. In a batch of one example they compare the example
    with itself. Under several replicas they are those of each replica's share.

    The paper adds a strongly augmented view of each image; put both views into the
    batch. It leaves out the half of the plain views that the teacher is surest of,
    which is not done here: give them a `sample_weight` of 0 for that.

    Args:
        temperatures: Positive numbers T. Defaults to (2, 3, 4, 5, 6).
        standardize: Whether the logits of both sides are first brought to mean 0 and
            standard deviation 1 over the classes. Defaults to False.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`, of shape `(batch, classes)`. Defaults to
            None, for models with one.
        name: The name in the logs. Defaults to "multi_level_logit_distillation".

    Raises:
        ValueError: If `temperatures` is not a list of positive numbers, or the outputs
            do not hold logits of the same classes.

    Example:
    >>> logits = np.array([[1.0, 2.0], [5.0, 3.0]])
    >>> float(MultiLevelLogitDistillation().compute_loss(logits, logits))
    0.0

    Reference: Jin, Wang and Lin, 2023, Multi-Level Logit Distillation, CVPR: weight
    0.9 beside a student loss of weight 0.1.
    """

    _rank = 2

    def __init__(
        self,
        temperatures: Any = (2.0, 3.0, 4.0, 5.0, 6.0),
        *,
        standardize: bool = False,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        if not isinstance(temperatures, (list, tuple)) or not temperatures:
            raise ValueError(
                "`temperatures` must be a list of positive numbers. "
                f"Received: temperatures={temperatures!r}"
            )
        self.temperatures = [_checked(value) for value in temperatures]
        self.standardize = standardize

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        teacher = kept_signals(step, "teacher", teacher)
        student = kept_signals(step, "student", student)
        if self.standardize:
            teacher, student = standardize(teacher), standardize(student)
        included = step.included(ops.shape(student)[0])
        total = 0.0
        for temperature in self.temperatures:
            examples, classes = gram_distances(
                teacher, student, included=included, temperature=temperature
            )
            total += examples + classes
            total += kl_divergence(teacher, student, temperature=temperature)
        return total


METHODS = (
    Method(
        "mlkd",
        MultiLevelLogitDistillation,
        paper="Jin, Wang and Lin, 2023, CVPR",
        signals="outputs",
        weight=0.9,
        student_loss_weight=0.1,
        when="Strong augmentation on both views of an image.",
    ),
)


def _checked(temperature: Any) -> Any:
    # One fixed set: the terms were balanced for all of them together.
    if isinstance(temperature, Schedule):
        raise ValueError(
            "`temperatures` must be positive numbers. Received: a schedule, "
            f"{temperature!r}. Use `LogitsDistillation` for a temperature that changes."
        )
    return check_scalar("temperatures", temperature, above=0)
