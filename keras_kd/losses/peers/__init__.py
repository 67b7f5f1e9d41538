"""Losses among students that train together."""

from keras_kd.losses.peers.collaborative_distillation import CollaborativeDistillation
from keras_kd.losses.peers.gated_ensemble_distillation import GatedEnsembleDistillation
from keras_kd.losses.peers.mutual_distillation import MutualDistillation

__all__ = [
    "CollaborativeDistillation",
    "GatedEnsembleDistillation",
    "MutualDistillation",
]
