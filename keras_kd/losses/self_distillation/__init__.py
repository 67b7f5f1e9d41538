"""Losses of a student that learns without another model."""

from keras_kd.losses.self_distillation.exit_distillation import ExitDistillation
from keras_kd.losses.self_distillation.last_batch_distillation import (
    LastBatchDistillation,
)
from keras_kd.losses.self_distillation.same_class_distillation import (
    SameClassDistillation,
)
from keras_kd.losses.self_distillation.view_agreement_distillation import (
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
