"""Losses of a student that learns without another model."""

from keras_kd.losses.self_distillation.exits import ExitDistillation
from keras_kd.losses.self_distillation.last_batch import LastBatchDistillation
from keras_kd.losses.self_distillation.partners import (
    SameClassDistillation,
    ViewAgreementDistillation,
)
from keras_kd.losses.self_distillation.virtual_teacher import (
    VirtualTeacherDistillation,
)

__all__ = [
    "ExitDistillation",
    "LastBatchDistillation",
    "SameClassDistillation",
    "ViewAgreementDistillation",
    "VirtualTeacherDistillation",
]
