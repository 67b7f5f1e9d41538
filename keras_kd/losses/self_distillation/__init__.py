"""Losses of a student that learns without another model."""

from keras_kd.losses.self_distillation.virtual_teacher import (
    VirtualTeacherDistillation,
)

__all__ = ["VirtualTeacherDistillation"]
