"""Losses among students that train together."""

from keras_kd.losses.online.collaborative import CollaborativeDistillation
from keras_kd.losses.online.data_free import DataFreeDistillation
from keras_kd.losses.online.gated import GatedEnsembleDistillation
from keras_kd.losses.online.mutual import MutualDistillation

__all__ = [
    "CollaborativeDistillation",
    "DataFreeDistillation",
    "GatedEnsembleDistillation",
    "MutualDistillation",
]
