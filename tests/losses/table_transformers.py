"""Rows for what is compared in transformers."""

from keras_kd.losses.attention import AttentionRelationDistillation
from keras_kd.losses.ranking import MarginDistillation
from tests.losses import references_transformers as ref
from tests.losses.row import Row

PARTS = {"kind": "features", "scale": 0.7}

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
    "margin_mse": Row(MarginDistillation, ref.margin_mse, (6, 4), (6, 4)),
}
