"""Methods that compare the models' outputs."""

from keras_kd.losses.logits.alpha_beta_distillation import AlphaBetaDistillation
from keras_kd.losses.logits.class_subset_distillation import ClassSubsetDistillation
from keras_kd.losses.logits.confidence_weighted_distillation import (
    ConfidenceWeightedDistillation,
)
from keras_kd.losses.logits.correlation_distillation import CorrelationDistillation
from keras_kd.losses.logits.curriculum_temperature import CurriculumTemperature
from keras_kd.losses.logits.decoupled_distillation import DecoupledDistillation
from keras_kd.losses.logits.hard_label_distillation import HardLabelDistillation
from keras_kd.losses.logits.logits_distillation import LogitsDistillation
from keras_kd.losses.logits.multi_level_logit_distillation import (
    MultiLevelLogitDistillation,
)
from keras_kd.losses.logits.normalized_distillation import NormalizedDistillation
from keras_kd.losses.logits.one_for_all_distillation import OneForAllDistillation
from keras_kd.losses.logits.refined_logit_distillation import RefinedLogitDistillation
from keras_kd.losses.logits.teacher_dropping_distillation import (
    TeacherDroppingDistillation,
)
from keras_kd.losses.logits.transformed_teacher_matching import (
    TransformedTeacherMatching,
)

__all__ = [
    "AlphaBetaDistillation",
    "ClassSubsetDistillation",
    "ConfidenceWeightedDistillation",
    "CorrelationDistillation",
    "CurriculumTemperature",
    "DecoupledDistillation",
    "HardLabelDistillation",
    "LogitsDistillation",
    "MultiLevelLogitDistillation",
    "NormalizedDistillation",
    "OneForAllDistillation",
    "RefinedLogitDistillation",
    "TeacherDroppingDistillation",
    "TransformedTeacherMatching",
]
