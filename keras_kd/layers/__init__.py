"""Layers between the student's signals and the teacher's."""

from keras_kd.layers.attention_fusion import AttentionFusion
from keras_kd.layers.classifier_exit import ClassifierExit
from keras_kd.layers.embedding_memory import EmbeddingMemory
from keras_kd.layers.frozen_copy import frozen_copy
from keras_kd.layers.last_outputs import LastOutputs
from keras_kd.layers.learned_temperature import LearnedTemperature
from keras_kd.layers.orthogonal_projector import OrthogonalProjector
from keras_kd.layers.projector import projector
from keras_kd.layers.statistics import ChannelVariance, NegativeMean
from keras_kd.layers.teacher_dropping import TeacherDropping

__all__ = [
    "AttentionFusion",
    "ChannelVariance",
    "ClassifierExit",
    "EmbeddingMemory",
    "LastOutputs",
    "LearnedTemperature",
    "NegativeMean",
    "OrthogonalProjector",
    "TeacherDropping",
    "frozen_copy",
    "projector",
]
