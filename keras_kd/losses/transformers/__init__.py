"""Losses on the inside of transformers."""

from keras_kd.losses.transformers.attention import AttentionDistillation

__all__ = ["AttentionDistillation"]
