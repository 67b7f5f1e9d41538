"""Methods on what is inside a transformer."""

from keras_kd.losses.attention.attention_distillation import AttentionDistillation
from keras_kd.losses.attention.attention_relation_distillation import (
    AttentionRelationDistillation,
)
from keras_kd.losses.attention.distil_bert_distillation import DistilBertDistillation
from keras_kd.losses.attention.hidden_state_distillation import HiddenStateDistillation
from keras_kd.losses.attention.tiny_bert_distillation import TinyBertDistillation

__all__ = [
    "AttentionDistillation",
    "AttentionRelationDistillation",
    "DistilBertDistillation",
    "HiddenStateDistillation",
    "TinyBertDistillation",
]
