"""Runs of several fits."""

from keras_kd.recipes.chains import (
    assistant_chain,
    born_again,
    ensemble,
    snapshots,
    soft_targets,
)
from keras_kd.recipes.continual import learn_without_forgetting
from keras_kd.recipes.federated import federated
from keras_kd.recipes.online import mutual_learning
from keras_kd.recipes.private import PrivateStudent, pate
from keras_kd.recipes.progressive import Phase, grow, stage_wise
from keras_kd.recipes.reused_classifier import reuse_classifier
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training
from keras_kd.recipes.transfer import transfer_weights
from keras_kd.recipes.votes import count_votes, noisy_labels, privacy_spent

__all__ = [
    "Phase",
    "PrivateStudent",
    "Run",
    "Stage",
    "Training",
    "assistant_chain",
    "born_again",
    "count_votes",
    "ensemble",
    "federated",
    "grow",
    "learn_without_forgetting",
    "mutual_learning",
    "noisy_labels",
    "pate",
    "privacy_spent",
    "reuse_classifier",
    "snapshots",
    "soft_targets",
    "stage_wise",
    "transfer_weights",
]
