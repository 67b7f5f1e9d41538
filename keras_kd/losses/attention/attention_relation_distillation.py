"""The student relates tokens to each other as the teacher does."""

import math
from typing import Any

import keras
from keras import ops

from keras_kd.losses.base import DistillationLoss, address_config
from keras_kd.losses.context import StepContext
from keras_kd.losses.logits.checks import check_finite
from keras_kd.losses.registry import Method
from keras_kd.ops.attention_relations import attention_relation_kl_divergence
from keras_kd.signals.attention_layers import (
    PARTS,
    attention_layers,
    parts_of_attention,
)
from keras_kd.signals.layer_paths import find_layer
from keras_kd.signals.output import Output
from keras_kd.signals.tap import Tap


@keras.saving.register_keras_serializable(package="keras_kd")
class AttentionRelationDistillation(DistillationLoss):
    """Distillation of the self-attention relations of one layer: MiniLM.

    The mean over queries, keys and values v of KL(R(v_t) ‖ R(v_s)), where R(v) is the
    softmax over the tokens of v vᵀ / √d in each relation head. Widths, head counts and
    depths may differ without a projector. One value per example.

    Args:
        teacher_layer: The teacher's attention layer (path or layer object), which holds
            layers named "query", "key" and "value". None for the model's last one;
            for a large teacher the paper takes a layer above its middle.
        student_layer: The same for the student. None for its last.
        relation_heads: Number of parts that the vectors are cut into; must divide both
            widths. None for the greatest common divisor of all head counts, those
            of grouped keys and values included.
        padding_mask: Where the tokens carry no Keras mask: the key of the batch's x
            that holds it (1 for tokens, 0 for padding), or None.
        name: The name in the logs.

    Raises:
        ValueError: If `relation_heads` is not a positive integer, a layer holds no
            query, key and value, or the lengths differ.

    Example:
    >>> loss = AttentionRelationDistillation("layer_11/attention", "layer_5/attention")
    >>> [tap.layer for tap in loss.student_signals()][0]
    'layer_5/attention/query'

    Reference: Wang et al., 2021, MiniLMv2, arXiv:2012.15828. The three relations are
    averaged, and the loss stands alone: `student_loss_weight=0`.
    """

    def __init__(
        self,
        teacher_layer: Any = None,
        student_layer: Any = None,
        *,
        relation_heads: int | None = None,
        padding_mask: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if relation_heads is not None and (
            isinstance(relation_heads, bool)
            or not isinstance(relation_heads, int)
            or relation_heads < 1
        ):
            raise ValueError(
                "`relation_heads` must be None or a positive integer. "
                f"Received: relation_heads={relation_heads!r}"
            )
        self.teacher_layer = teacher_layer
        self.student_layer = student_layer
        self.relation_heads = relation_heads
        self.padding_mask = padding_mask
        self._taps = {
            "teacher": _part_taps(teacher_layer),
            "student": _part_taps(student_layer),
        }
        self._heads = relation_heads

    def bind(self, teacher: Any, student: Any) -> None:
        """Find the layers of the queries, keys and values."""
        for side, model, address in (
            ("teacher", teacher, self.teacher_layer),
            ("student", student, self.student_layer),
        ):
            self._taps[side] = _parts_of(_attention_of(model, address, side), side)
        super().bind(teacher, student)

    def teacher_signals(self) -> Any:
        return self._taps["teacher"] or Output()

    def student_signals(self) -> Any:
        return self._taps["student"] or Output()

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Do nothing here: the heads and widths may differ."""

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        for t, s in zip(teacher, student, strict=True):
            pair = f"teacher {tuple(t.shape)}, student {tuple(s.shape)}"
            if {len(t.shape), len(s.shape)} - {3, 4}:
                raise ValueError(
                    "AttentionRelationDistillation compares vectors `(batch, tokens, "
                    f"heads, size)` or `(batch, tokens, width)`. Received: {pair}. "
                    "Name the attention layer itself."
                )
            if None not in (t.shape[1], s.shape[1]) and t.shape[1] != s.shape[1]:
                raise ValueError(
                    "AttentionRelationDistillation relates the same tokens on both "
                    f"sides. Received: {pair}. Give both models the same tokens."
                )
        if self._heads is None:
            self._heads = _common_heads([*teacher, *student])
        for t, s in zip(teacher, student, strict=True):
            widths = math.prod(t.shape[2:]), math.prod(s.shape[2:])
            if any(width % self._heads for width in widths):
                raise ValueError(
                    "`relation_heads` must divide the width of both sides. Received: "
                    f"relation_heads={self._heads} for widths {widths}."
                )

    def check(self, teacher: Any, student: Any) -> None:
        for side, signals in (("teacher", teacher), ("student", student)):
            for values in signals:
                check_finite(values, side=side, loss_name=type(self).__name__)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        mask = self._mask(step)
        total = sum(
            attention_relation_kl_divergence(
                _flat(t), _flat(s), heads=self._heads or 1, mask=mask
            )
            for t, s in zip(teacher, student, strict=True)
        )
        return total / len(student)

    def _mask(self, step: StepContext) -> Any:
        if self.padding_mask is not None:
            try:
                return step.x[self.padding_mask]
            except (KeyError, TypeError, IndexError) as error:
                raise ValueError(
                    "`padding_mask` must be a key of the batch's x. Received: "
                    f"padding_mask={self.padding_mask!r}, x of type "
                    f"{type(step.x).__name__}."
                ) from error
        masks = keras.tree.flatten([step.student_mask, step.teacher_mask])
        tokens = [m for m in masks if m is not None and len(m.shape) == 2]
        return tokens[0] if tokens else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "teacher_layer": self._address("teacher", self.teacher_layer),
            "student_layer": self._address("student", self.student_layer),
        }

    def _address(self, side: str, address: Any) -> Any:
        if not isinstance(address, keras.layers.Layer):
            return address
        query = (self._taps[side] or [Tap(address)])[0]
        return str(address_config(query.layer, query)).rpartition("/")[0]


METHODS = (
    Method(
        "minilm",
        AttentionRelationDistillation,
        paper="Wang et al., 2021, MiniLMv2, arXiv:2012.15828",
        signals="attention",
        weight=1.0,
        student_loss_weight=0.0,
        when="Transformers of other width and heads, before any task.",
    ),
)


def _part_taps(address: Any) -> list[Tap] | None:
    if not isinstance(address, str):
        return None  # found in the model, by `bind`
    return [Tap(f"{address}/{part}") for part in PARTS]


def _attention_of(model: Any, address: Any, side: str) -> Any:
    if address is not None:
        return find_layer(model, address, side=side)
    found = attention_layers(model, side=side)
    if not found:
        raise ValueError(
            f"`{side}_layer` must name a layer, because the {side} '{model.name}' has "
            "no `keras.layers.MultiHeadAttention` and no layer with parts named query, "
            "key and value (or is not built yet). Received: None."
        )
    return found[-1]


def _parts_of(layer: Any, side: str) -> list[Tap]:
    parts = parts_of_attention(layer)
    missing = [part for part in PARTS if part not in parts]
    if missing:
        raise ValueError(
            f"`{side}_layer` must be an attention layer that holds layers named "
            f"{', '.join(PARTS)}. Received: '{layer.name}' of type "
            f"{type(layer).__name__}, without {', '.join(missing)}."
        )
    return [Tap(parts[part]) for part in PARTS]


def _common_heads(vectors: list[Any]) -> int:
    counts = [v.shape[2] for v in vectors if len(v.shape) == 4]
    if not counts:
        raise ValueError(
            "`relation_heads` must be given for vectors `(batch, tokens, width)`, "
            "which do not show their heads. Received: relation_heads=None for shapes "
            f"{[tuple(v.shape) for v in vectors]}."
        )
    return math.gcd(*counts)


def _flat(vectors: Any) -> Any:
    """Return `(batch, tokens, width)`, whatever the heads."""
    if len(vectors.shape) == 3:
        return vectors
    return ops.reshape(
        vectors, (*ops.shape(vectors)[:2], vectors.shape[2] * vectors.shape[3])
    )
