"""Losses of a student that learns without another model."""

from keras_kd.losses.self_distillation.exit_distillation import ExitDistillation
from keras_kd.losses.self_distillation.last_batch_distillation import (
    LastBatchDistillation,
)
from keras_kd.losses.self_distillation.pair_comparison import (
    SameClassDistillation,
    ViewAgreementDistillation,
)
from keras_kd.losses.self_distillation.virtual_teacher_distillation import (
    VirtualTeacherDistillation,
)

__all__ = [
    "ExitDistillation",
    "LastBatchDistillation",
    "SameClassDistillation",
    "ViewAgreementDistillation",
    "VirtualTeacherDistillation",
]
