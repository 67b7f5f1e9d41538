"""Losses on what the models give out."""

from keras_kd.losses.logits.hard_labels import HardLabelDistillation
from keras_kd.losses.logits.soft_targets import LogitsDistillation

__all__ = ["HardLabelDistillation", "LogitsDistillation"]
