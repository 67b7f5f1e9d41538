"""The table of all losses. A new method is tested by adding a row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import keras_kd
from tests.losses import references as ref

Logits = keras_kd.LogitsDistillation


@dataclass
class Row:
    """A loss, the signals it compares, and the value that it must have.

    Attributes:
        make: Builds the loss.
        reference: Its value per example or token in float64 NumPy.
        teacher: The shape of the teacher's signal.
        student: The shape of the student's.
        minimum: The value for equal signals, where that is 0.
        kind: "logits", "features" or "attention".
    """

    make: Callable[[], Any]
    reference: Callable[[Any, Any], Any]
    teacher: tuple[int, ...] = (6, 5)
    student: tuple[int, ...] = (6, 5)
    minimum: float | None = 0.0
    kind: str = "logits"

    def signals(self, seed=0):
        random = np.random.default_rng(seed)
        pair = [random.normal(0, 2, s) for s in (self.teacher, self.student)]
        if self.kind == "attention":
            # Not too sharp: finite differences need room on both sides.
            pair = [ref.softmax(x / 4) for x in pair]
        return pair

    def call(self, loss, teacher, student):
        """Return the values of the loss, as one array."""
        if self.kind == "attention":
            values = loss.call([teacher], [student], keras_kd.StepContext())
            return values[0]
        return loss.call(teacher, student, keras_kd.StepContext())

    def build(self):
        """Return a loss that has seen the shapes of its signals."""
        import keras

        loss = self.make()
        specs = [
            keras.KerasTensor((None, *s[1:])) for s in (self.teacher, self.student)
        ]
        if self.kind == "attention":
            loss.build([specs[0]], [specs[1]])
        else:
            loss.build(*specs)
        return loss


def _attention(**arguments):
    return keras_kd.AttentionDistillation(["a"], ["a"], **arguments)


IMAGES = {"teacher": (3, 4, 4, 5), "student": (3, 4, 4, 5), "kind": "features"}
UNEVEN = {"teacher": (3, 7, 6, 5), "student": (3, 3, 8, 5), "kind": "features"}
HEADS = {"teacher": (2, 3, 4, 6), "student": (2, 3, 4, 6), "kind": "attention"}

TABLE = {
    "kl": Row(lambda: Logits(2.0), lambda t, s: ref.kl(t, s, 2.0)),
    "kl_tokens": Row(lambda: Logits(1.0), ref.kl, teacher=(2, 3, 7), student=(2, 3, 7)),
    "kl_pixels": Row(
        lambda: Logits(1.0), ref.kl, teacher=(2, 3, 2, 4), student=(2, 3, 2, 4)
    ),
    "kl_two_classes": Row(
        lambda: Logits(4.0), lambda t, s: ref.kl(t, s, 4.0), (6, 2), (6, 2)
    ),
    "kl_one_example": Row(lambda: Logits(1.0), ref.kl, (1, 5), (1, 5)),
    "reverse_kl": Row(
        lambda: Logits(3.0, "reverse_kl_divergence"),
        lambda t, s: ref.reverse_kl(t, s, 3.0),
    ),
    "jsd": Row(
        lambda: Logits(2.0, "jensen_shannon_divergence"),
        lambda t, s: ref.jsd(t, s, 2.0),
    ),
    "jsd_beta": Row(
        lambda: Logits(1.0, keras_kd.Divergence("jensen_shannon_divergence", beta=0.1)),
        lambda t, s: ref.jsd(t, s, beta=0.1),
    ),
    "skew": Row(
        lambda: Logits(2.0, "skew_kl_divergence"), lambda t, s: ref.skew(t, s, 2.0)
    ),
    "skew_reverse": Row(
        lambda: Logits(2.0, "skew_reverse_kl_divergence"),
        lambda t, s: ref.skew_reverse(t, s, 2.0),
    ),
    "total_variation": Row(
        lambda: Logits(2.0, "total_variation_distance"),
        lambda t, s: ref.total_variation(t, s, 2.0),
    ),
    "crossentropy": Row(
        lambda: Logits(2.0, "categorical_crossentropy"),
        lambda t, s: ref.crossentropy(t, s, 2.0),
        minimum=None,
    ),
    "binary_kl": Row(
        lambda: Logits(2.0, "binary_kl_divergence"),
        lambda t, s: ref.binary_kl(t, s, 2.0),
    ),
    "logits_mse": Row(
        lambda: Logits(2.0, "mse"), lambda t, s: ref.mse_of_tempered(t, s, 2.0)
    ),
    "standardized_kl": Row(
        lambda: Logits(2.0, standardize=True),
        lambda t, s: ref.kl(ref.standardize(t), ref.standardize(s), 2.0),
    ),
    "hard_label": Row(keras_kd.HardLabelDistillation, ref.hard_label, minimum=None),
    "hint": Row(lambda: keras_kd.FeatureDistillation("mse"), ref.mse, kind="features"),
    "hint_images": Row(lambda: keras_kd.FeatureDistillation("mse"), ref.mse, **IMAGES),
    "hint_resized": Row(
        lambda: keras_kd.FeatureDistillation("mse"),
        ref.resized_mse,
        minimum=None,
        **UNEVEN,
    ),
    "hint_cosine": Row(
        lambda: keras_kd.FeatureDistillation("cosine_similarity"),
        ref.cosine,
        minimum=-1.0,
        kind="features",
    ),
    "attention_transfer": Row(
        keras_kd.AttentionTransfer, ref.attention_transfer, **IMAGES
    ),
    "attention_transfer_resized": Row(
        keras_kd.AttentionTransfer, ref.attention_transfer, minimum=None, **UNEVEN
    ),
    "attention_kl": Row(_attention, ref.attention_kl, **HEADS),
    "attention_mse": Row(lambda: _attention(loss="mse"), ref.attention_mse, **HEADS),
    "attention_averaged": Row(
        _attention,
        lambda t, s: ref.attention_kl(t, s, averaged=True),
        teacher=(2, 4, 4, 6),
        student=(2, 2, 4, 6),
        minimum=None,
        kind="attention",
    ),
}
