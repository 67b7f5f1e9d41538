"""Methods: what a student learns from."""

from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import Divergence
from keras_kd.losses.features import AttentionTransfer, FeatureDistillation
from keras_kd.losses.logits import HardLabelDistillation, LogitsDistillation
from keras_kd.losses.transformers import AttentionDistillation

__all__ = [
    "AttentionDistillation",
    "AttentionTransfer",
    "DistillationLoss",
    "Divergence",
    "FeatureDistillation",
    "HardLabelDistillation",
    "LogitsDistillation",
    "StepContext",
]
