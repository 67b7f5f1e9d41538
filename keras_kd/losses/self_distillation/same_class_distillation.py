"""The student learns from its logits of another example of the class."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.hyperparameters import Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.class_comparison import class_labels
from keras_kd.losses.registry import Method
from keras_kd.losses.self_distillation.pair_comparison import PairComparison
from keras_kd.ops.target_classes import names_class


@keras.saving.register_keras_serializable(package="keras_kd")
class SameClassDistillation(PairComparison):
    """Class-wise self-knowledge distillation: CS-KD.

    T² KL(softmax(s_j / T) ‖ softmax(s_i / T)), one value per example i, where j is the
    next example of the same class in the batch, whose logits s_j carry no gradient; 0
    without one, and so for a batch of one. Use `keras_kd.data.SameClassBatches`, where
    every example has a pair. Under several replicas pairs are sought within each
    replica's share.

    Labels are class indices, or one-hot; of soft labels the largest counts. What has a
    label that names no class is left out.

    Args:
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 4.0.
        output: The name or index of the student's output, `(batch, classes)`. Defaults
            to None, for a student with one.
        name: The name in the logs. Defaults to "same_class_distillation".

    Raises:
        ValueError: If `temperature` is not positive, the output is not `(batch,
            classes)`, or there are no labels that fit.

    Example:
    >>> loss = SameClassDistillation(temperature=1.0)
    >>> logits = keras.ops.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    >>> step = keras_kd.StepContext(y=np.array([0, 0, 1]))
    >>> values, valid = loss.call(None, logits, step)
    >>> [round(float(value), 4) for value in values]
    [0.1109, 0.1201, 0.0]

    Reference: Yun et al., 2020, arXiv:2003.13964: weight 1 beside a task loss of weight
    1. There half of the batch learns and the other half, drawn for it, only teaches;
    here all learn, and labels are learned from all.
    """

    _advice = (
        "Use larger batches or `keras_kd.data.SameClassBatches`, which holds pairs of "
        "one class."
    )

    def __init__(
        self,
        temperature: Scalar = 4.0,
        *,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(temperature, output=output, name=name)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        super().validate_outputs(teacher_outputs, student_outputs)
        if len(student_outputs.shape) != 2:
            raise ValueError(
                "SameClassDistillation needs one label per example and an output "
                "`(batch, classes)`. Received: student "
                f"{tuple(student_outputs.shape)}. Pool the tokens or pixels first."
            )

    def keys(self, student: Any, step: StepContext) -> Any:
        labels = class_labels(
            step.y, student, key=self.output, loss_name=type(self).__name__
        )
        # Two labels that both name no class (255) are not one class.
        return ops.where(names_class(labels, student.shape[-1]), labels, -1)

    def groups(self, step: StepContext) -> np.ndarray | None:
        if step.y is None or keras.tree.is_nested(step.y):
            return None
        labels = np.asarray(ops.convert_to_numpy(step.y))
        if labels.ndim > 1 and labels.shape[-1] > 1:
            labels = labels.argmax(axis=-1)
        return labels.reshape(-1)


METHODS = (
    Method(
        "cs_kd",
        SameClassDistillation,
        paper="Yun et al., 2020, arXiv:2003.13964",
        signals="self",
        weight=1.0,
        student_loss_weight=1.0,
        when="No teacher, many classes that are hard to tell apart.",
        labels=True,
    ),
)
