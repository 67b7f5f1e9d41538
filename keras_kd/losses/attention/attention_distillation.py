"""The student attends to what the teacher attends to."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.losses.attention.layer_map import evenly_spread
from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_finite, check_probabilities
from keras_kd.losses.registry import Method
from keras_kd.ops.probabilities import probabilities_kl_divergence
from keras_kd.signals.attention_layers import attention_layers
from keras_kd.signals.base import Signal
from keras_kd.signals.output import Output
from keras_kd.signals.tap import Tap

_COMPARISONS = ("kl_divergence", "mse")
_HEADS = ("auto", "paired", "averaged")


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionDistillation(DistillationLoss):
    """Distillation of attention probabilities.

    The mean over the compared layers and heads of KL(A_t ‖ A_s), or of the mean
    squared difference, where row i of A holds how query i spreads its attention over
    the keys. One value per query; padding queries are left out by their Keras mask.

    Args:
        teacher_layers: The teacher's attention layers (paths, layer objects or
            `Tap`s), in their order. None for all of the model: Keras's own, their
            subclasses, and layers with parts named query, key and value. Those that
            form no probabilities (fused or flash attention) are refused.
        student_layers: The same for the student.
        layer_map: For each student layer the index of the teacher layer to learn
            from. None spreads them evenly and ends at the last: student layer i of M
            learns from teacher layer ceil((i + 1) · N / M) − 1 of N.
        heads: "paired" compares head with head, "averaged" the means over the heads,
            "auto" pairs where the counts agree and averages where they differ.
        loss: "kl_divergence" or "mse". Defaults to "kl_divergence".
        name: The name in the logs. Defaults to "attention_distillation".

    Raises:
        ValueError: If `layer_map`, `heads` or `loss` is not one of these, a layer gives
            no attention probabilities, or the lengths differ.

    Example:
    >>> loss = AttentionDistillation(["layer_0/attention"], ["layer_0/attention"])
    >>> [tap.of for tap in loss.teacher_signals()]
    ['attention']

    References: Jiao et al., 2020, TinyBERT, arXiv:1909.10351 (squared differences);
    Wang et al., 2020, MiniLM, arXiv:2002.10957 (KL divergence, last layer).
    """

    def __init__(
        self,
        teacher_layers: Sequence[Any] | None = None,
        student_layers: Sequence[Any] | None = None,
        *,
        layer_map: Sequence[int] | None = None,
        heads: str = "auto",
        loss: str = "kl_divergence",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.teacher_layers = _as_list("teacher_layers", teacher_layers)
        self.student_layers = _as_list("student_layers", student_layers)
        if layer_map is not None and (
            not layer_map or not all(isinstance(index, int) for index in layer_map)
        ):
            raise ValueError(
                "`layer_map` must be None or a list of the indices of teacher layers, "
                f"one for each student layer. Received: layer_map={layer_map!r}"
            )
        if heads not in _HEADS:
            raise ValueError(
                f"`heads` must be one of {_HEADS}. Received: heads={heads!r}"
            )
        if loss not in _COMPARISONS:
            raise ValueError(
                f"`loss` must be one of {_COMPARISONS}. Received: loss={loss!r}"
            )
        self.layer_map = None if layer_map is None else list(layer_map)
        self.heads = heads
        self.loss = loss
        self._taps: dict[str, list[Any] | None] = {
            "teacher": _taps(self.teacher_layers),
            "student": _taps(self.student_layers),
        }

    def bind(self, teacher: Any, student: Any) -> None:
        """Find the attention layers of the models where none were named."""
        for side, model in (("teacher", teacher), ("student", student)):
            if self._taps[side] is None:
                found = attention_layers(model, side=side)
                if not found:
                    raise ValueError(
                        f"`{side}_layers` must name layers, because the {side} "
                        f"'{model.name}' has no `keras.layers.MultiHeadAttention` and "
                        "no layer with parts named query, key and value (or is not "
                        "built yet). Received: None."
                    )
                self._taps[side] = _taps(found)
        super().bind(teacher, student)
        # One teacher layer for each student layer, checked before anything runs.
        self._mapped()

    def teacher_signals(self) -> Any:
        # Before the layers are found, the whole model stands for them.
        return self._taps["teacher"] or Output()

    def student_signals(self) -> Any:
        return self._taps["student"] or Output()

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Do nothing here: the numbers of layers may differ."""

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Raise: `keras.distillation.Distiller` cannot feed this loss."""
        raise ValueError(
            "AttentionDistillation needs attention probabilities, which only "
            "`keras_kd.Distiller` can take from the models. Received: "
            "`keras.distillation.Distiller`. Change the import."
        )

    def _mapped(self) -> list[int]:
        teachers, students = self._taps["teacher"] or [], self._taps["student"] or []
        n, m = len(teachers), len(students)
        if self.layer_map is None:
            return evenly_spread(n, m)
        if len(self.layer_map) != m or not all(-n <= i < n for i in self.layer_map):
            raise ValueError(
                f"`layer_map` must hold one index below {n} (the teacher's layers) for "
                f"each of the {m} student layers. Received: {self.layer_map}"
            )
        return self.layer_map

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for s, index in zip(student, self._mapped(), strict=True):
            t = teacher[index]
            pair = f"teacher {tuple(t.shape)}, student {tuple(s.shape)}"
            if any(
                None not in sizes and sizes[0] != sizes[1]
                for sizes in zip(t.shape[2:], s.shape[2:], strict=True)
            ):
                raise ValueError(
                    "AttentionDistillation compares attention over the same queries "
                    f"and keys. Received: {pair}. Give both models the same tokens or "
                    "patches."
                )
            if self.heads == "paired" and t.shape[1] != s.shape[1]:
                raise ValueError(
                    "`heads='paired'` needs the same number of heads. Received: "
                    f"{pair}. Use `heads='averaged'` or 'auto'."
                )

    def check(self, teacher: Any, student: Any) -> None:
        for side, signals in (("teacher", teacher), ("student", student)):
            for values in signals:
                check_finite(values, side=side, loss_name=type(self).__name__)
                check_probabilities(
                    values,
                    side=side,
                    binary=False,
                    loss_name=type(self).__name__,
                    remedy="Name layers that give attention after its softmax.",
                )

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        del step
        count = len(student)
        return [
            self._one_layer(teacher[place], s) / count
            for s, place in zip(student, self._mapped(), strict=True)
        ]

    def _one_layer(self, teacher: Any, student: Any) -> Any:
        t, s = ops.cast(teacher, "float32"), ops.cast(student, "float32")
        if self.heads == "averaged" or t.shape[1] != s.shape[1]:
            t, s = ops.mean(t, 1, keepdims=True), ops.mean(s, 1, keepdims=True)
        if self.loss == "mse":
            value = ops.mean(ops.square(t - s), axis=-1)
        else:
            value = probabilities_kl_divergence(t, s)
        return ops.mean(value, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "teacher_layers": _addresses(self.teacher_layers, self._taps["teacher"]),
            "student_layers": _addresses(self.student_layers, self._taps["student"]),
        }


METHODS = (
    Method(
        "attention",
        AttentionDistillation,
        paper="Jiao et al., 2020, TinyBERT, arXiv:1909.10351",
        signals="attention",
        weight=1.0,
        student_loss_weight=1.0,
        when="Transformers over the same tokens.",
    ),
)


def _as_list(argument: str, layers: Any) -> list[Any] | None:
    if layers is None:
        return None
    if isinstance(layers, (str, keras.layers.Layer, Signal)):
        return [layers]
    if not layers:
        raise ValueError(
            f"`{argument}` must name at least one layer, or be None for all attention "
            f"layers of the model. Received: {argument}={layers!r}"
        )
    return list(layers)


def _taps(layers: list[Any] | None) -> list[Any] | None:
    if layers is None:
        return None
    return [
        Tap(layer.layer, layer.call, "attention")
        if isinstance(layer, Tap)
        else layer
        if isinstance(layer, Signal)
        else Tap(layer, of="attention")
        for layer in layers
    ]


def _addresses(layers: list[Any] | None, taps: list[Any] | None) -> Any:
    if layers is None or taps is None:
        return None
    return [address_config(*pair) for pair in zip(layers, taps, strict=True)]
