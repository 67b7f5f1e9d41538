"""A generator looks for the teacher's data, and the student learns from them."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.left_out import kept_signals
from keras_kd.losses.logits.checks import check_finite, check_same_classes
from keras_kd.losses.logits.class_comparison import check_logits
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import kl_divergence, log_probabilities
from keras_kd.ops.ensembles import label_crossentropy
from keras_kd.signals.output import Output
from keras_kd.signals.tap import as_signal


@keras.saving.register_keras_serializable(package="keras_kd")
class DataFreeDistillation(DistillationLoss):
    """Distillation without data: DAFL, for a `keras_kd.students.DataFreeStudent`.

    With the teacher's logits t of the generated inputs, its features f and the
    student's logits s, the loss is KL(softmax(t / T) ‖ softmax(s / T)) · T², which
    trains the student, and three terms that train the generator alone: o · CE(t,
    argmax t), inputs that the teacher is sure of; − a · mean |f|, inputs that excite
    its features; and i · Σ_c p̄_c ln p̄_c of the batch's mean probabilities p̄, weighted
    as the examples are, inputs of all classes. One value per example; the last term is
    the same for all.

    Args:
        one_hot_weight: The weight o ≥ 0, or a `LearningRateSchedule`. Defaults to 1.0.
        activation_weight: The weight a ≥ 0. Defaults to 0.1.
        information_weight: The weight i. Defaults to 5.0.
        temperature: Positive number T, or a schedule. Defaults to 1.0.
        layer_name: The path of the teacher's features f, as "teacher/embedding".
            Defaults to None: without their term.
        name: The name in the logs. Defaults to "data_free_distillation".

    Raises:
        ValueError: If a weight is negative, `temperature` is not positive, or the
            student is not a `DataFreeStudent`.

    Example:
    >>> loss = DataFreeDistillation(layer_name="teacher/embedding")
    >>> loss.student_signals()["features"].layer
    'teacher/embedding'

    Reference: Chen et al., 2019, arXiv:1904.01186: weights 1, 0.1 and 5 on digits;
    0.05, 0.01 and 5 in the authors' code on CIFAR. That code takes log10 in the last
    term, here it is the natural logarithm: their 5 is 5 / ln 10 = 2.17 here, and our
    default of 5 counts the term 2.3 times as much. Pass `information_weight=2.17` for
    theirs.
    """

    one_hot_weight = Hyperparameter(minimum=0)
    activation_weight = Hyperparameter(minimum=0)
    information_weight = Hyperparameter(minimum=0)
    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        one_hot_weight: Scalar = 1.0,
        activation_weight: Scalar = 0.1,
        information_weight: Scalar = 5.0,
        temperature: Scalar = 1.0,
        *,
        layer_name: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.one_hot_weight = one_hot_weight
        self.activation_weight = activation_weight
        self.information_weight = information_weight
        self.temperature = temperature
        self.layer_name = layer_name
        self._tap = None if layer_name is None else as_signal(layer_name)
        self._outputs = {"teacher": Output("teacher"), "student": Output("student")}

    def teacher_signals(self) -> Any:
        return None

    def student_signals(self) -> Any:
        features = {} if self._tap is None else {"features": self._tap}
        return {**self._outputs, **features}

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where teacher and student do not have the same classes.

        Raises:
            ValueError: If the outputs are not `(batch, classes)`, or the classes
                differ.
        """
        del teacher_outputs
        shape = tuple(student_outputs["teacher"].shape)
        if len(shape) != 2:
            raise ValueError(
                "DataFreeDistillation needs outputs of shape `(batch, classes)`. "
                f"Received: teacher {shape}. Pool the tokens or pixels first."
            )
        check_same_classes(
            student_outputs["teacher"],
            student_outputs["student"],
            minimum=2,
            loss_name=type(self).__name__,
            remedy="Give one logit per class.",
        )

    def check(self, teacher: Any, student: Any) -> None:
        del teacher
        for side in ("teacher", "student"):
            check_logits(student[side], side=side, loss_name=type(self).__name__)
        if self._tap is not None:
            check_finite(
                student["features"], side="teacher", loss_name=type(self).__name__
            )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        student = {
            key: kept_signals(step, "student", signal, key)
            for key, signal in student.items()
        }
        wanted = student["teacher"]
        learned = kl_divergence(
            ops.stop_gradient(wanted),
            student["student"],
            temperature=step.value(self, "temperature"),
        )
        surest = ops.argmax(ops.stop_gradient(wanted), axis=-1)
        weight = ops.expand_dims(step.weight_of_each(ops.shape(wanted)[0]), -1)
        p = ops.exp(log_probabilities(wanted))
        together = ops.sum(weight * p, axis=0)
        mean = ops.divide_no_nan(together, ops.sum(weight))
        information = ops.sum(mean * ops.log(ops.maximum(mean, 1e-30)))
        sure = label_crossentropy(wanted, surest)
        total = learned + step.value(self, "one_hot_weight") * sure
        total += step.value(self, "information_weight") * information
        if self._tap is not None:
            features = ops.abs(student["features"])
            axes = tuple(range(1, len(features.shape)))
            excited = ops.mean(features, axis=axes)
            total -= step.value(self, "activation_weight") * excited
        return total

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "layer_name": address_config(self.layer_name, self._tap),
        }


METHODS = (
    Method(
        "dafl",
        DataFreeDistillation,
        paper="Chen et al., 2019, arXiv:1904.01186",
        signals="generated",
        weight=1.0,
        student_loss_weight=0.0,
        when="A teacher whose training data are gone.",
    ),
)
