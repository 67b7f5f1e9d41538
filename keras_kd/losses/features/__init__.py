"""Losses on what the layers inside the models produce."""

from keras_kd.losses.features.attention_transfer import AttentionTransfer
from keras_kd.losses.features.channel_wise import ChannelWiseDistillation
from keras_kd.losses.features.hints import FeatureDistillation
from keras_kd.losses.features.information import InformationDistillation
from keras_kd.losses.features.neuron_selectivity import NeuronSelectivityTransfer
from keras_kd.losses.features.pearson import PearsonDistillation

__all__ = [
    "AttentionTransfer",
    "ChannelWiseDistillation",
    "FeatureDistillation",
    "InformationDistillation",
    "NeuronSelectivityTransfer",
    "PearsonDistillation",
]
