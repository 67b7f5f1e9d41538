"""The student learns from its logits of another view of the example."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.hyperparameters import Scalar
from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method
from keras_kd.losses.sample_ids import check_sample_ids
from keras_kd.losses.sample_ids import sample_ids as sample_ids_of
from keras_kd.losses.self_distillation.pair_comparison import PairComparison


@keras.saving.register_keras_serializable(package="keras_kd")
class ViewAgreementDistillation(PairComparison):
    """Agreement of the student's logits of several views of one example.

    T² KL(softmax(s_j / T) ‖ softmax(s_i / T)), one value per example or token, where j
    is the next view of the same example in the batch, with the same sample id; 0
    without one, and so for a batch of one, and in an evaluation on data without ids.
    `keras_kd.data.Views` makes such batches, with augmented views, or with copies that
    only dropout tells apart. One with an id below 0 is left out.

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
        ValueError: If `temperature` is not positive, the output does not hold logits,
            or x has no such key.

    Example:
    >>> loss = ViewAgreementDistillation()
    >>> logits = keras.ops.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]])
    >>> step = keras_kd.StepContext(x={"sample_id": np.array([4, 4, 7])})
    >>> values, valid = loss.call(None, logits, step)
    >>> [round(float(value), 4) for value in values]
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
        if not step.training and not self._has_ids(step):
            # Arrays to validate on hold one view of each example.
            return ops.zeros(ops.shape(student)[:-1])
        return super().call(teacher, student, step)

    def keys(self, student: Any, step: StepContext) -> Any:
        return sample_ids_of(step, self.sample_ids)

    def groups(self, step: StepContext) -> np.ndarray | None:
        # The first batch may be one of arrays, too: a training on these is refused in
        # its step.
        return check_sample_ids(step, self.sample_ids) if self._has_ids(step) else None

    def _has_ids(self, step: StepContext) -> bool:
        is_key = isinstance(step.x, dict) and self.sample_ids in step.x
        return step.sample_ids is not None or is_key


METHODS = (
    Method(
        "r_drop",
        ViewAgreementDistillation,
        paper="Liang et al., 2021, arXiv:2106.14448",
        signals="self",
        weight=0.5,
        student_loss_weight=1.0,
        when="No teacher: two views, or two dropout masks, shall agree.",
        defaults={"stop_gradient": False},
    ),
)
