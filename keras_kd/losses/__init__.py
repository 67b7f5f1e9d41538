"""Methods: what a student learns from."""

from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import Divergence
from keras_kd.losses.features import AttentionTransfer, FeatureDistillation
from keras_kd.losses.logits import HardLabelDistillation, LogitsDistillation
from keras_kd.losses.transformers import (
    AttentionDistillation,
    AttentionRelationDistillation,
    MarginDistillation,
    distilbert,
    hidden_states,
    tinybert,
)

__all__ = [
    "AttentionDistillation",
    "AttentionRelationDistillation",
    "AttentionTransfer",
    "DistillationLoss",
    "Divergence",
    "FeatureDistillation",
    "HardLabelDistillation",
    "LogitsDistillation",
    "MarginDistillation",
    "StepContext",
    "distilbert",
    "hidden_states",
    "tinybert",
]
