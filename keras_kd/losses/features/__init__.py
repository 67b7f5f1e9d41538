"""Losses on what the layers inside the models produce."""

from keras_kd.losses.features.attention_transfer import AttentionTransfer
from keras_kd.losses.features.hints import FeatureDistillation

__all__ = ["AttentionTransfer", "FeatureDistillation"]
