"""A teacher that knows some of the student's classes teaches these."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import only_valid
from keras_kd.losses.logits.checks import check_same_classes
from keras_kd.losses.logits.class_comparison import (
    check_logits,
    check_one_output,
    class_labels,
)
from keras_kd.losses.logits.output_comparison import OutputComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import kl_divergence


@keras.saving.register_keras_serializable(package="keras_kd")
class ClassSubsetDistillation(OutputComparison):
    """Distillation of the classes that the teacher knows.

    T² KL(softmax(t / T) ‖ softmax(s[classes] / T)): the student's logits of the other
    classes take no part. One value per example or token. For learning without
    forgetting, where the teacher is the student before it met new classes, and for
    teachers that share the classes among them (`keras_kd.teachers.Specialists`).

    Args:
        classes: The student's class index of each of the teacher's classes, in the
            teacher's order; at least two.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 4.0.
        own_examples_only: Whether only examples with a label among `classes` count;
            reads the labels. All others have the value 0 and are left out of the mean:
            it is the mean over the own examples, and 0 in a batch without any. So a
            teacher says nothing about examples of classes it never saw. Defaults to
            False.
        output: The name or index of the output to compare, of both models or as a pair
            `(teacher's, student's)`: `(0, None)` for the first of several specialists
            and a student with one output. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "class_subset_distillation".

    Raises:
        ValueError: If `classes` is not a list of at least two different indices,
            `temperature` is not positive, the outputs do not have these classes, or
            there are no labels where they are read.

    Example:
    >>> loss = ClassSubsetDistillation([2, 0], temperature=1.0)
    >>> teacher, student = np.array([[1.0, 3.0]]), np.array([[3.0, 9.0, 1.0]])
    >>> float(loss.compute_loss(teacher, student))
    0.0

    References: Li and Hoiem, 2017, learning without forgetting, arXiv:1606.09282: T 2
    and weight 1 beside a task loss of weight 1, and no factor T², so that their weight
    is 1 / 4 here; specialists: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531.
    """

    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        classes: Sequence[int],
        temperature: Scalar = 4.0,
        *,
        own_examples_only: bool = False,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        is_list = isinstance(classes, (list, tuple, range))
        if (
            not is_list
            or len(classes) < 2
            or len(set(classes)) < len(classes)
            or any(isinstance(c, bool) or not isinstance(c, int) for c in classes)
            or min(classes) < 0
        ):
            raise ValueError(
                "`classes` must be a list of at least two different integers of at "
                "least 0, the student's index of each of the teacher's classes. "
                f"Received: classes={classes!r}"
            )
        self.classes = list(classes)
        self.temperature = temperature
        self.own_examples_only = bool(own_examples_only)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where teacher and student do not have the classes that are named."""
        name = type(self).__name__
        for side, output in (
            ("teacher", teacher_outputs),
            ("student", student_outputs),
        ):
            check_one_output(output, side=side, loss_name=name)
        teacher, student = tuple(teacher_outputs.shape), tuple(student_outputs.shape)
        if teacher[-1:] != (len(self.classes),):
            raise ValueError(
                "`classes` must name one class of the student for each of the "
                f"teacher's. Received: {len(self.classes)} classes, for a teacher's "
                f"output {teacher}."
            )
        if len(student) > 1 and student[-1] <= max(self.classes):
            raise ValueError(
                "`classes` must be classes of the student. Received: class "
                f"{max(self.classes)}, for a student's output {student}, whose classes "
                f"are 0 to {student[-1] - 1}."
            )
        check_same_classes(
            teacher_outputs,
            keras.KerasTensor((*student[:-1], len(self.classes))),
            minimum=2,
            loss_name=name,
            remedy="",
        )

    def check(self, teacher: Any, student: Any) -> None:
        for side, values in (("teacher", teacher), ("student", student)):
            check_logits(values, side=side, loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        value = kl_divergence(
            teacher,
            ops.take(student, self.classes, axis=-1),
            temperature=step.value(self, "temperature"),
        )
        if not self.own_examples_only:
            return value
        key = self._outputs["student"].key
        labels = class_labels(step.y, student, key=key, loss_name=type(self).__name__)
        own = ops.any(
            ops.equal(ops.expand_dims(labels, -1), ops.convert_to_tensor(self.classes)),
            axis=-1,
        )
        # Where the teacher knows nothing its output counts as little as padding.
        return only_valid(own, value)


METHODS = (
    Method(
        "lwf",
        ClassSubsetDistillation,
        paper="Li and Hoiem, 2017, LwF, arXiv:1606.09282",
        signals="classes",
        weight=0.25,
        student_loss_weight=1.0,
        when="New classes for a model that must not forget the old ones.",
        defaults={"temperature": 2.0},
    ),
)
