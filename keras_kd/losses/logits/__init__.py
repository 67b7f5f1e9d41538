"""Methods that compare the models' outputs."""

from keras_kd.losses.logits.class_subset import ClassSubsetDistillation
from keras_kd.losses.logits.confidence import ConfidenceWeightedDistillation
from keras_kd.losses.logits.correlation import CorrelationDistillation
from keras_kd.losses.logits.curriculum import CurriculumTemperature
from keras_kd.losses.logits.decoupled import DecoupledDistillation
from keras_kd.losses.logits.exits import OneForAllDistillation
from keras_kd.losses.logits.hard_labels import HardLabelDistillation
from keras_kd.losses.logits.multi_level import MultiLevelLogitDistillation
from keras_kd.losses.logits.normalized import NormalizedDistillation
from keras_kd.losses.logits.refined import RefinedLogitDistillation
from keras_kd.losses.logits.soft_targets import LogitsDistillation
from keras_kd.losses.logits.teacher_dropping import TeacherDroppingDistillation
from keras_kd.losses.logits.transformed_teacher import TransformedTeacherMatching

__all__ = [
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
