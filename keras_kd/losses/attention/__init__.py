"""Methods on what is inside a transformer."""

from keras_kd.losses.attention.attention_distillation import AttentionDistillation
from keras_kd.losses.attention.attention_relation_distillation import (
    AttentionRelationDistillation,
)
from keras_kd.losses.attention.compositions import (
    distilbert,
    hidden_states,
    tinybert,
)

__all__ = [
    "AttentionDistillation",
    "AttentionRelationDistillation",
    "distilbert",
    "hidden_states",
    "tinybert",
]
