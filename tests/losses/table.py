"""The table of all losses. A new method is tested by adding a row."""

import keras_kd
from tests.losses import references as ref
from tests.losses import (
    table_groups,
    table_learned,
    table_logits,
    table_relations,
    table_transformers,
)
from tests.losses.row import Row

Logits = keras_kd.LogitsDistillation


def _attention(**arguments):
    return keras_kd.AttentionDistillation(["a"], ["a"], **arguments)


IMAGES = {"teacher": (3, 4, 4, 5), "student": (3, 4, 4, 5), "kind": "features"}
UNEVEN = {"teacher": (3, 7, 6, 5), "student": (3, 3, 8, 5), "kind": "features"}
HEADS = {"teacher": [(2, 3, 4, 6)], "student": [(2, 3, 4, 6)], "kind": "attention"}

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
        shift_invariant=False,
    ),
    "logits_mse": Row(
        lambda: Logits(2.0, "mse"),
        lambda t, s: ref.mse_of_tempered(t, s, 2.0),
        shift_invariant=False,
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
    "attention_kl": Row(_attention, lambda t, s: ref.attention_kl(t[0], s[0]), **HEADS),
    "attention_mse": Row(
        lambda: _attention(loss="mse"),
        lambda t, s: ref.attention_mse(t[0], s[0]),
        **HEADS,
    ),
    "attention_averaged": Row(
        _attention,
        lambda t, s: ref.attention_kl(t[0], s[0], averaged=True),
        teacher=[(2, 4, 4, 6)],
        student=[(2, 2, 4, 6)],
        minimum=None,
        kind="attention",
    ),
}
TABLE |= table_transformers.TABLE
TABLE |= table_relations.TABLE
TABLE |= table_logits.TABLE
TABLE |= table_learned.TABLE
TABLE |= table_groups.TABLE
