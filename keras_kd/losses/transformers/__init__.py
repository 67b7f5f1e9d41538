"""Methods on what is inside a transformer."""

from keras_kd.losses.transformers.attention import AttentionDistillation
from keras_kd.losses.transformers.compositions import (
    distilbert,
    hidden_states,
    tinybert,
)
from keras_kd.losses.transformers.margin import MarginDistillation
from keras_kd.losses.transformers.relations import AttentionRelationDistillation

__all__ = [
    "AttentionDistillation",
    "AttentionRelationDistillation",
    "MarginDistillation",
    "distilbert",
    "hidden_states",
    "tinybert",
]
