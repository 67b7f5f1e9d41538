"""What DistilBERT was trained by, beside its masked language model."""

from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_finite, check_same_classes
from keras_kd.losses.logits.class_comparison import check_logits, check_one_output
from keras_kd.losses.registry import Method
from keras_kd.ops.divergences import kl_divergence
from keras_kd.signals.output import Output
from keras_kd.signals.tap import as_signal


@keras.saving.register_keras_serializable(package="keras_kd")
class DistilBertDistillation(DistillationLoss):
    """Distillation of token logits and last hidden states: DistilBERT.

    logits_weight · T² KL(p ‖ q) + cosine_weight · (1 − cos(h_t, h_s)), one value per
    token, with the hidden states h. The student has the teacher's width, and starts
    from the teacher's layers 0, 2, 4, 7, 9 and 11 of 12
    (`keras_kd.recipes.transfer_weights`).

    Args:
        teacher_layer_name: The teacher's last hidden layer: a path, a layer object or a
            `Tap`.
        student_layer_name: The same for the student.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 2.0.
        logits_weight: Weight of the divergence, at least 0, or a schedule. Defaults to
            2.5.
        cosine_weight: The same for the hidden states. Defaults to 0.5.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "distil_bert_distillation".

    Raises:
        ValueError: If the outputs are not logits of the same classes, or the hidden
            states differ in shape.

    Example:
    >>> loss = DistilBertDistillation("layer_11", "layer_5")
    >>> loss.student_signals()["hidden"].layer
    'layer_5'

    Reference: Sanh et al., 2019, arXiv:1910.01108: 5, 1 and, for the task loss of the
    masked tokens, 2; halved here, so that the task's weight is 1.
    """

    temperature = Hyperparameter(above=0)
    logits_weight = Hyperparameter(minimum=0)
    cosine_weight = Hyperparameter(minimum=0)

    def __init__(
        self,
        teacher_layer_name: Any,
        student_layer_name: Any,
        *,
        temperature: Scalar = 2.0,
        logits_weight: Scalar = 2.5,
        cosine_weight: Scalar = 0.5,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        pair = output if isinstance(output, (list, tuple)) else (output, output)
        if len(pair) != 2:
            raise ValueError(
                "`output` must be None, a name or index, or a pair (teacher's, "
                f"student's). Received: output={output!r}"
            )
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        self.temperature = temperature
        self.logits_weight = logits_weight
        self.cosine_weight = cosine_weight
        self.output = output
        layers = (teacher_layer_name, student_layer_name)
        self._signals_of = [
            {
                "logits": Output(key),
                "hidden": as_signal(layer),
            }
            for key, layer in zip(pair, layers, strict=True)
        ]

    def teacher_signals(self) -> Any:
        return self._signals_of[0]

    def student_signals(self) -> Any:
        return self._signals_of[1]

    def build(self, teacher: Any, student: Any) -> None:
        name = type(self).__name__
        for side, signals in (("teacher", teacher), ("student", student)):
            check_one_output(signals["logits"], side=side, loss_name=name)
        check_same_classes(
            teacher["logits"],
            student["logits"],
            minimum=2,
            loss_name=name,
            remedy="Give one logit per class.",
        )
        t, s = tuple(teacher["hidden"].shape), tuple(student["hidden"].shape)
        if len(t) != len(s) or t[-1] != s[-1]:
            raise ValueError(
                f"{name} compares hidden states of one width. Received: teacher {t}, "
                f"student {s}. For another width use `TinyBertDistillation`."
            )
        super().build(teacher, student)

    def check(self, teacher: Any, student: Any) -> None:
        name = type(self).__name__
        for side, signals in (("teacher", teacher), ("student", student)):
            check_logits(signals["logits"], side=side, loss_name=name)
            check_finite(signals["hidden"], side=side, loss_name=name)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        divergence = kl_divergence(
            teacher["logits"],
            student["logits"],
            temperature=step.value(self, "temperature"),
        )
        distance = 1.0 + keras.losses.cosine_similarity(
            ops.cast(teacher["hidden"], "float32"),
            ops.cast(student["hidden"], "float32"),
        )
        return (
            step.value(self, "logits_weight") * divergence
            + step.value(self, "cosine_weight") * distance
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "teacher_layer_name": address_config(
                self.teacher_layer_name, self.teacher_signals()["hidden"]
            ),
            "student_layer_name": address_config(
                self.student_layer_name, self.student_signals()["hidden"]
            ),
        }


METHODS = (
    Method(
        "distilbert",
        DistilBertDistillation,
        paper="Sanh et al., 2019, DistilBERT, arXiv:1910.01108",
        signals="attention",
        weight=1.0,
        student_loss_weight=1.0,
        when="A shallower encoder of the same width, during its pretraining.",
    ),
)
