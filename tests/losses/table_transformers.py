"""Rows for what is compared in transformers."""

from keras_kd.losses.attention import (
    AttentionRelationDistillation,
    DistilBertDistillation,
    HiddenStateDistillation,
    TinyBertDistillation,
)
from keras_kd.losses.ranking import MarginDistillation
from tests.losses import references_transformers as ref
from tests.losses.row import Row

PARTS = {"kind": "features", "scale": 0.7}


def _tinybert(width):
    return {
        "attention": [(2, 2, 3, 3)],
        "states": [(2, 3, width)],
        "embeddings": [(2, 3, width)],
    }


TABLE = {
    "minilm": Row(
        AttentionRelationDistillation,
        lambda t, s: ref.minilm(t, s, 2),
        teacher=[(3, 4, 2, 3)] * 3,
        student=[(3, 4, 2, 3)] * 3,
        **PARTS,
    ),
    "minilm_other_width": Row(
        lambda: AttentionRelationDistillation(relation_heads=2),
        lambda t, s: ref.minilm(t, s, 2),
        teacher=[(3, 4, 4, 3)] * 3,
        student=[(3, 4, 2, 2)] * 3,
        minimum=None,
        **PARTS,
    ),
    "hidden_states": Row(
        lambda: HiddenStateDistillation(["a", "b"], ["a", "b"]),
        ref.hidden_states,
        teacher=[(2, 3, 5)] * 2,
        student=[(2, 3, 4), (2, 3, 2)],
        minimum=None,
        learned=True,
        **PARTS,
    ),
    "tinybert": Row(
        lambda: TinyBertDistillation(
            ["a"], ["a"], embeddings=("e", "e"), attention=(["a"], ["a"])
        ),
        ref.tinybert,
        teacher=_tinybert(4),
        student=_tinybert(3),
        minimum=None,
        learned=True,
        **PARTS,
    ),
    "distilbert": Row(
        lambda: DistilBertDistillation("h", "h", temperature=3.0),
        lambda t, s: ref.distilbert(t, s, 3.0, 2.5, 0.5),
        teacher={"logits": (2, 3, 5), "hidden": (2, 3, 4)},
        student={"logits": (2, 3, 5), "hidden": (2, 3, 4)},
        **PARTS,
    ),
    "margin_mse": Row(MarginDistillation, ref.margin_mse, (6, 4), (6, 4)),
}
