"""The student learns from its logits of one step ago."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Scalar
from keras_kd.layers.last_outputs import LastOutputs
from keras_kd.losses.context import StepContext
from keras_kd.losses.registry import Method
from keras_kd.losses.sample_ids import check_sample_ids
from keras_kd.losses.sample_ids import sample_ids as sample_ids_of
from keras_kd.losses.self_distillation.base import OwnOutput
from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.pairs import where_example


@keras.saving.register_keras_serializable(package="keras_kd")
class LastBatchDistillation(OwnOutput):
    """Self-distillation from the last mini-batch: DLB.

    T² KL(softmax(old / T) ‖ softmax(new / T)), one value per example or token, where
    old are the logits that the student gave for the same example in the training step
    before; 0 for an example that was not in that batch, and in evaluation. Use
    `keras_kd.data.OverlappingBatches`, of which each holds half of the one before, and
    `fit(shuffle=False)`. Examples are found by their ids, so other data are never
    wrong: what does not overlap is 0.

    The old logits and ids are a state of the loss. They are saved with the Distiller.
    Under `MirroredStrategy` only those of the first replica are kept, and most examples
    get 0: train on one device, or with JAX, where a batch is whole on several.

    Args:
        batch_size: The number of examples of the largest batch.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 3.0.
        sample_ids: The key of the batch's x that holds each example's number, at least
            0 and below 2³¹; one below 0 is never stored. Select the images by
            `student_inputs=keras_kd.data.without_sample_ids`. Defaults to "sample_id".
        output: The name or index of the student's output. Defaults to None, for a
            student with one.
        name: The name in the logs. Defaults to "last_batch_distillation".

    Raises:
        ValueError: If `batch_size` is not a positive integer, `temperature` is not
            positive, the output does not hold logits of a known size, x has no such
            key, or the first batch is larger than `batch_size`.

    Example:
    >>> loss = LastBatchDistillation(batch_size=2, temperature=1.0)
    >>> loss.build(None, keras.KerasTensor((None, 2)))
    >>> step = keras_kd.StepContext(x={"sample_id": np.array([4, 7])})
    >>> first = loss.call(None, keras.ops.array([[0.0, 0.0], [1.0, 0.0]]), step)
    >>> step = keras_kd.StepContext(x={"sample_id": np.array([7, 9])})
    >>> second = loss.call(None, keras.ops.array([[0.0, 0.0], [1.0, 0.0]]), step)
    >>> [round(float(value), 4) for value in second]
    [0.1109, 0.0]

    Reference: Shen et al., 2022, arXiv:2203.16172: T 3 and weight 1 beside a task loss
    of weight 1. They average over the half that overlaps, here the mean is that of the
    whole batch: their weight is 2 here.
    """

    def __init__(
        self,
        batch_size: int,
        temperature: Scalar = 3.0,
        *,
        sample_ids: str = "sample_id",
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(temperature, output=output, name=name)
        is_integer = isinstance(batch_size, int) and not isinstance(batch_size, bool)
        if not is_integer or batch_size < 1:
            raise ValueError(
                "`batch_size` must be a positive integer, the size of the largest "
                f"batch. Received: batch_size={batch_size!r}"
            )
        self.batch_size = batch_size
        self.sample_ids = sample_ids
        self._layers: list[Any] = []

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return list(self._layers)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        super().validate_outputs(teacher_outputs, student_outputs)
        if None in student_outputs.shape[1:]:
            raise ValueError(
                "LastBatchDistillation keeps outputs of one known size. Received: "
                f"student {tuple(student_outputs.shape)}. Fix the length of the input."
            )

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if not self._layers:
            last = LastOutputs(
                self.batch_size, student.shape[1:], name=f"{self.name}_outputs"
            )
            last.build()
            self._layers.append(last)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        if not step.training:
            # Ids of other data are those of other examples.
            return ops.zeros(ops.shape(student)[:-1])
        ids = sample_ids_of(step, self.sample_ids)
        (last,) = self._layers
        old, found = last.lookup(ids)
        # What is not used must not send a NaN into the gradient.
        old = where_example(found, old, ops.stop_gradient(ops.cast(student, "float32")))
        value = kl_divergence(old, student, temperature=step.value(self, "temperature"))
        last.update(ids, student, step.included(ops.shape(student)[0]))
        return where_example(found, value, 0.0)

    def check_batch(self, step: StepContext) -> None:
        count = len(check_sample_ids(step, self.sample_ids))
        if count > self.batch_size:
            raise ValueError(
                "`batch_size` must be that of the largest batch. Received: "
                f"batch_size={self.batch_size}, a batch of {count} examples."
            )


METHODS = (
    Method(
        "dlb",
        LastBatchDistillation,
        paper="Shen et al., 2022, arXiv:2203.16172",
        signals="self",
        weight=2.0,
        student_loss_weight=1.0,
        when="No teacher: the logits of the step before are the target.",
    ),
)
