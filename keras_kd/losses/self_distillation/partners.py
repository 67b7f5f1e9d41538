"""The student learns from its own answers to other examples of the batch."""

import warnings
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.classes import class_labels
from keras_kd.losses.sample_ids import sample_ids as sample_ids_of
from keras_kd.losses.self_distillation.base import OwnOutput
from keras_kd.ops.partners import partner_indices, partner_kl_divergence
from keras_kd.ops.target_classes import names_class


class PartnerDistillation(OwnOutput):
    """A loss by which each example learns from a partner in the batch.

    A subclass says by `keys` who belongs together; the partner is the next example of
    the batch with the same key. One that is left out by its weight or mask is nobody's
    partner.
    """

    stop_gradient = True
    _advice = ""

    def keys(self, student: Any, step: StepContext) -> Any:
        """Return an integer per example, the same for those that belong together.

        Args:
            student: The student's logits.
            step: The step.

        Returns:
            Tensor of shape `(batch,)`; below 0 for an example without a partner.
        """
        raise NotImplementedError

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        included = step.included(ops.shape(student)[0])
        index, has_partner = partner_indices(self.keys(student, step), included)
        if step.checks and not bool(ops.any(has_partner)):
            warnings.warn(
                f"No example of the first batch has a partner, so {type(self).__name__}"
                f" is 0 there. {self._advice}",
                stacklevel=2,
            )
        return partner_kl_divergence(
            student,
            index,
            has_partner,
            temperature=step.value(self, "temperature"),
            stop_gradient=self.stop_gradient,
        )


@keras.saving.register_keras_serializable(package="keras_kd")
class SameClassDistillation(PartnerDistillation):
    """Class-wise self-knowledge distillation: CS-KD.

    T² KL(softmax(s_j / T) ‖ softmax(s_i / T)), one value per example i, where j is the
    next example of the same class in the batch, whose logits s_j carry no gradient; 0
    without one, and so for a batch of one. Use `keras_kd.data.SameClassBatches`, where
    every example has a partner. Under several replicas partners are sought within each
    replica's share.

    Labels are class indices, or one-hot; of soft labels the largest counts.

    Args:
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 4.0.
        output: The name or index of the student's output, `(batch, classes)`. Defaults
            to None, for a student with one.
        name: The name in the logs. Defaults to "same_class_distillation".

    Raises:
        ValueError: An argument is none of these, the output does not fit, or there are
            no labels.

    Example:
    >>> loss = SameClassDistillation(temperature=1.0)
    >>> logits = keras.ops.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    >>> step = keras_kd.StepContext(y=np.array([0, 0, 1]))
    >>> [round(float(value), 4) for value in loss.call(None, logits, step)]
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


@keras.saving.register_keras_serializable(package="keras_kd")
class ViewAgreementDistillation(PartnerDistillation):
    """Agreement of the student's answers to several views of one example.

    T² KL(softmax(s_j / T) ‖ softmax(s_i / T)), one value per example or token, where j
    is the next view of the same example in the batch, with the same sample id; 0
    without one, and so for a batch of one, and in an evaluation on data without ids.
    `keras_kd.data.Views` makes such batches, with augmented views, or with copies that
    only dropout tells apart. An id below 0 is nobody's.

    Args:
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 1.0.
        sample_ids: The key of the batch's x that holds each example's number, below
            2³¹. Defaults to "sample_id".
        stop_gradient: Whether the other view is a fixed target. False sends the
            gradient into both, and with two views the mean is that of
            (KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)) / 2, R-Drop. Defaults to True.
        output: The name or index of the student's output. Defaults to None, for a
            student with one.
        name: The name in the logs. Defaults to "view_agreement_distillation".

    Raises:
        ValueError: An argument is none of these, the output does not fit, or x has no
            such key.

    Example:
    >>> loss = ViewAgreementDistillation()
    >>> logits = keras.ops.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    >>> step = keras_kd.StepContext(x={"sample_id": np.array([4, 4, 7])})
    >>> [round(float(value), 4) for value in loss.call(None, logits, step)]
    [0.1109, 0.1201, 0.0]

    References: Xu and Liu, 2019, Data-distortion guided self-distillation, AAAI; Liang
    et al., 2021, R-Drop, arXiv:2106.14448, weight α of 1 to 5 beside the sum of the two
    views' task losses: α / 2 beside our mean.
    """

    _advice = (
        "Views of one example must stand in one batch with one sample id: see "
        "`keras_kd.data.Views`."
    )

    def __init__(
        self,
        temperature: Scalar = 1.0,
        *,
        sample_ids: str = "sample_id",
        stop_gradient: bool = True,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(temperature, output=output, name=name)
        self.sample_ids = sample_ids
        self.stop_gradient = bool(stop_gradient)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        has_ids = isinstance(step.x, dict) and self.sample_ids in step.x
        if not has_ids and not step.training:
            # Arrays to validate on hold one view of each example. The first batch may
            # be one of theirs, too: that of a training is refused in its step.
            return ops.zeros(ops.shape(student)[:-1])
        return super().call(teacher, student, step)

    def keys(self, student: Any, step: StepContext) -> Any:
        return sample_ids_of(step, self.sample_ids)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sample_ids": self.sample_ids,
            "stop_gradient": self.stop_gradient,
        }
