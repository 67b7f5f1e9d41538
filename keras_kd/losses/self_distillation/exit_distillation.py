"""Shallow stages of the student learn from its deepest one."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Hyperparameter, Scalar
from keras_kd.layers.classifier_exit import ClassifierExit
from keras_kd.losses.base import address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.shapes import channels_last, width_of
from keras_kd.losses.left_out import included_rows, kept_signals, only_valid
from keras_kd.losses.logits.checks import check_finite
from keras_kd.losses.logits.class_comparison import class_labels
from keras_kd.losses.registry import Method
from keras_kd.losses.self_distillation.base import OwnOutput
from keras_kd.ops.divergences import kl_divergence, squared
from keras_kd.ops.ensembles import label_crossentropy
from keras_kd.ops.positions import mean_over_positions
from keras_kd.ops.target_classes import names_class
from keras_kd.signals.tap import as_signal


@keras.saving.register_keras_serializable(package="keras_kd")
class ExitDistillation(OwnOutput):
    """Self-distillation of the shallow stages: be your own teacher; reads the labels.

    Σ over the exits of (1 − α) CE(label, e) + α KL(softmax(s / T) ‖ softmax(e / T))
    + λ ‖f − F‖², where an exit, a small classifier on a shallow stage, has the feature
    f and the logits e; F is the student's deepest feature, averaged over its positions,
    and s are its logits, both constants for the gradient. The KL divergence has no
    factor T². The exits train with the student and are no part of it: what is left is
    a plain student with better stages. One value per example; one whose label names no
    class is left out.

    Args:
        student_layer_names: The student's stages, from shallow to deep: a list of at
            least two paths, layer objects or `Tap`s. Each but the last gets an exit;
            the output of the last is the deepest feature. An exit of an image reduces
            it once for each stage above.
        temperature: Positive number T, or a `LearningRateSchedule`. Defaults to 3.0.
        alpha: Share α of the divergence beside the cross-entropy, from 0 to 1, or a
            schedule. Defaults to 0.3.
        feature_weight: Weight λ ≥ 0 of the features' distance, the sum of the squares
            over the channels, or a schedule. Defaults to 0.03.
        output: The name or index of the student's output. Defaults to None, for a
            student with one.
        name: The name in the logs. Defaults to "exit_distillation".

    Raises:
        ValueError: If `student_layer_names` is not a list of at least two, a number is
            out of its range, the output or a stage has another shape, or there are no
            labels that fit.

    Example:
    >>> loss = ExitDistillation(["stage_1", "stage_2"])
    >>> stages = [keras.KerasTensor((None, 8, 8, 4)), keras.KerasTensor((None, 16))]
    >>> loss.build(None, {"output": keras.KerasTensor((None, 10)), "stages": stages})
    >>> [(layer.reductions, layer.width) for layer in loss.layers]
    [(1, 16)]

    Reference: Zhang et al., 2019, arXiv:1905.08094; weight 1 beside a task loss of
    weight 1, that of the deepest classifier. α and λ are those of the authors' code,
    which has no factor T² either. It takes the root of the squares of the whole batch,
    and leaves out the feature of the deepest exit; here the squares stand as in the
    paper, for all exits.
    """

    alpha = Hyperparameter(minimum=0, maximum=1)
    feature_weight = Hyperparameter(minimum=0)

    def __init__(
        self,
        student_layer_names: Sequence[Any],
        *,
        temperature: Scalar = 3.0,
        alpha: Scalar = 0.3,
        feature_weight: Scalar = 0.03,
        output: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(temperature, output=output, name=name)
        is_list = isinstance(student_layer_names, (list, tuple))
        if not is_list or len(student_layer_names) < 2:
            raise ValueError(
                "`student_layer_names` must be a list of at least two layers, the last "
                "of which gives the deepest feature. "
                f"Received: student_layer_names={student_layer_names!r}"
            )
        self.student_layer_names = list(student_layer_names)
        self.alpha = alpha
        self.feature_weight = feature_weight
        self._stages = [as_signal(layer) for layer in student_layer_names]
        self._exits: list[Any] = []

    def student_signals(self) -> Any:
        return {"output": self._output, "stages": self._stages}

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where the output holds no logits of examples, or a stage no channels.

        Raises:
            ValueError: If the output is not `(batch, classes)`, or a stage has no known
                number of channels.
        """
        output = student_outputs["output"]
        super().validate_outputs(teacher_outputs, output)
        if len(output.shape) != 2:
            raise ValueError(
                "ExitDistillation needs an output of shape `(batch, classes)`. "
                f"Received: student {tuple(output.shape)}."
            )
        for tap, stage in zip(self._stages, student_outputs["stages"], strict=True):
            if len(stage.shape) < 2 or width_of(stage) is None:
                raise ValueError(
                    "ExitDistillation needs stages of shape `(batch, ..., channels)` "
                    f"with a known number of channels. Received: {tap} of shape "
                    f"{tuple(stage.shape)}."
                )

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._exits:
            return
        *shallow, deepest = student["stages"]
        for index, stage in enumerate(shallow):
            layer = ClassifierExit(
                student["output"].shape[-1],
                reductions=len(shallow) - index,
                width=width_of(deepest),
                dtype="float32",
                name=f"{self.name}_exit_{index}",
            )
            layer.build(tuple(channels_last(stage).shape))
            self._exits.append(layer)

    def check(self, teacher: Any, student: Any) -> None:
        super().check(teacher, student["output"])
        for stage in student["stages"]:
            check_finite(stage, side="student", loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del teacher
        own = ops.stop_gradient(
            kept_signals(step, "student", student["output"], "output")
        )
        rows = included_rows(step, ops.shape(own)[0])
        labels = class_labels(
            step.y, own, key=self.output, loss_name=type(self).__name__
        )
        temperature = step.value(self, "temperature")
        alpha = step.value(self, "alpha")
        feature_weight = step.value(self, "feature_weight")
        *shallow, deepest = (
            channels_last(stage)
            for stage in kept_signals(step, "student", student["stages"], "stages")
        )
        *masks, last = step.mask_of("student", student["stages"], "stages")
        target = ops.stop_gradient(mean_over_positions(deepest, last))
        total = 0.0
        for layer, stage, mask in zip(self._exits, shallow, masks, strict=True):
            feature, logits = layer(
                stage,
                training=step.training,
                return_feature=True,
                mask=mask,
                included=rows,
            )
            divergence = kl_divergence(own, logits, temperature=temperature)
            distance = ops.sum(ops.square(feature - target), axis=-1)
            total += (
                (1.0 - alpha) * label_crossentropy(logits, labels)
                + alpha * divergence / squared(temperature)
                + feature_weight * distance
            )
        return only_valid(names_class(labels, own.shape[-1]), total)

    def get_config(self) -> dict[str, Any]:
        pairs = zip(self.student_layer_names, self._stages, strict=True)
        return {
            **super().get_config(),
            "student_layer_names": [address_config(*pair) for pair in pairs],
        }


METHODS = (
    Method(
        "byot",
        ExitDistillation,
        paper="Zhang et al., 2019, arXiv:1905.08094",
        signals="self",
        weight=1.0,
        student_loss_weight=1.0,
        when="No teacher: shallow stages learn from the deepest.",
        labels=True,
    ),
)
