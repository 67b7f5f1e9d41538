"""Stages of the student learn the teacher's logits, whatever both are built of."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.layers.classifier_exit import ClassifierExit
from keras_kd.losses.base import address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.shapes import channels_last
from keras_kd.losses.left_out import included_rows, kept_signals, only_valid
from keras_kd.losses.logits.checks import (
    NO_CLASSES,
    check_finite,
    check_same_classes,
)
from keras_kd.losses.logits.class_comparison import (
    check_logits,
    check_one_output,
    class_labels,
)
from keras_kd.losses.logits.output_comparison import OutputComparison
from keras_kd.losses.registry import Method
from keras_kd.ops.target_classes import names_class
from keras_kd.ops.target_enhancement import target_enhanced_crossentropy
from keras_kd.signals.tap import as_signal


@keras.saving.register_keras_serializable(package="keras_kd")
class OneForAllDistillation(OutputComparison):
    """Distillation between unlike architectures: OFA-KD; reads the labels.

    Σ −((p + 1_y)^ε − 1_y) · log q over the student's output and its exits: a small
    classifier on each named stage. Features of a convnet and a transformer have no
    common space, logits have. The exits train with the student and are no part of
    it. One value per example.

    Args:
        student_layer_names: The student's stages, from shallow to deep: a list of
            paths, layer objects or `Tap`s. An exit of an image reduces it once for
            each stage above.
        epsilon: Number ε, at least 1, or a `LearningRateSchedule`: how far the target
            counts beyond what the teacher gives it. Published: 1 to 1.5. Defaults to
            1.0.
        temperature: Positive number, or a schedule. Defaults to 1.0.
        output: The name or index of the output to compare, of both models or as a
            pair `(teacher's, student's)`. Defaults to None, for models with one.
        name: The name in the logs. Defaults to "one_for_all_distillation".

    Raises:
        ValueError: If `student_layer_names` is empty, `epsilon` is below 1,
            `temperature` is not positive, the outputs do not hold logits of the same
            classes, or there are no labels that fit.

    Example:
    >>> loss = OneForAllDistillation(["stage_1", "stage_2"], epsilon=1.5)
    >>> logits = keras.KerasTensor((None, 10))
    >>> stages = [
    ...     keras.KerasTensor((None, 8, 8, 4)),
    ...     keras.KerasTensor((None, 4, 4, 8)),
    ... ]
    >>> loss.build(logits, {"output": logits, "stages": stages})
    >>> [layer.reductions for layer in loss.layers]
    [1, 0]

    Reference: Hao et al., 2023, arXiv:2310.19444; weight 1.
    """

    epsilon = Hyperparameter(minimum=1)
    temperature = Hyperparameter(above=0)

    def __init__(
        self,
        student_layer_names: Sequence[Any],
        *,
        epsilon: Scalar = 1.0,
        temperature: Scalar = 1.0,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(output=output, name=name)
        if not isinstance(student_layer_names, (list, tuple)) or not (
            student_layer_names
        ):
            raise ValueError(
                "`student_layer_names` must be a list of at least one layer. "
                f"Received: student_layer_names={student_layer_names!r}"
            )
        self.student_layer_names = list(student_layer_names)
        self.epsilon = epsilon
        self.temperature = temperature
        self._stages = [as_signal(layer) for layer in student_layer_names]
        self._exits: list[Any] = []

    def student_signals(self) -> Any:
        return {"output": self._outputs["student"], "stages": self._stages}

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where the logits of the two sides are not those of the same classes."""
        own = student_outputs["output"]
        for side, output in (("teacher", teacher_outputs), ("student", own)):
            check_one_output(output, side=side, loss_name=type(self).__name__)
        check_same_classes(
            teacher_outputs,
            own,
            minimum=2,
            loss_name=type(self).__name__,
            remedy=NO_CLASSES,
        )

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if len(student["output"].shape) != 2:
            raise ValueError(
                "OneForAllDistillation needs outputs of shape `(batch, classes)`. "
                f"Received: student {tuple(student['output'].shape)}."
            )
        if self._exits:
            return
        stages = student["stages"]
        for index, stage in enumerate(stages):
            layer = ClassifierExit(
                student["output"].shape[-1],
                reductions=len(stages) - 1 - index,
                dtype="float32",
                name=f"{self.name}_exit_{index}",
            )
            layer.build(tuple(channels_last(stage).shape))
            self._exits.append(layer)

    def check(self, teacher: Any, student: Any) -> None:
        for side, logits in (("teacher", teacher), ("student", student["output"])):
            check_logits(logits, side=side, loss_name=type(self).__name__)
        for stage in student["stages"]:
            check_finite(stage, side="student", loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        own = kept_signals(step, "student", student["output"], "output")
        key = self._outputs["student"].key
        rows = included_rows(step, ops.shape(own)[0])
        teacher = kept_signals(step, "teacher", teacher)
        labels = class_labels(step.y, own, key=key, loss_name=type(self).__name__)
        outputs = [own]
        masks = step.mask_of("student", student["stages"], "stages")
        for layer, stage, mask in zip(
            self._exits, student["stages"], masks, strict=True
        ):
            features = channels_last(ops.cast(stage, "float32"))
            outputs.append(
                layer(features, training=step.training, mask=mask, included=rows)
            )
        value = sum(
            target_enhanced_crossentropy(
                teacher,
                logits,
                labels,
                epsilon=step.value(self, "epsilon"),
                temperature=step.value(self, "temperature"),
            )
            for logits in outputs
        )
        return only_valid(names_class(labels, own.shape[-1]), value)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "student_layer_names": [
                address_config(layer, tap)
                for layer, tap in zip(
                    self.student_layer_names, self._stages, strict=True
                )
            ],
        }


METHODS = (
    Method(
        "ofa",
        OneForAllDistillation,
        paper="Hao et al., 2023, OFA-KD, arXiv:2310.19444",
        signals="exits",
        weight=1.0,
        student_loss_weight=1.0,
        when="A convnet taught by a transformer, or the reverse.",
        labels=True,
    ),
)
