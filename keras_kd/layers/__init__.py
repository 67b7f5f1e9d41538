"""Layers between the student's signals and the teacher's."""

from keras_kd.layers.classifier_exit import ClassifierExit
from keras_kd.layers.fusion import AttentionFusion
from keras_kd.layers.learned_temperature import LearnedTemperature
from keras_kd.layers.memory import EmbeddingMemory
from keras_kd.layers.orthogonal import OrthogonalProjector
from keras_kd.layers.projector import projector
from keras_kd.layers.statistics import ChannelVariance, NegativeMean

__all__ = [
    "AttentionFusion",
    "ChannelVariance",
    "ClassifierExit",
    "EmbeddingMemory",
    "LearnedTemperature",
    "NegativeMean",
    "OrthogonalProjector",
    "projector",
]
