"""Losses on what the layers inside the models produce."""

from keras_kd.losses.features.attention_transfer import AttentionTransfer
from keras_kd.losses.features.channel_wise import ChannelWiseDistillation
from keras_kd.losses.features.confidence import ConfidenceWeightedFeatures
from keras_kd.losses.features.hints import FeatureDistillation
from keras_kd.losses.features.information import InformationDistillation
from keras_kd.losses.features.masked_generation import MaskedGenerativeDistillation
from keras_kd.losses.features.neuron_selectivity import NeuronSelectivityTransfer
from keras_kd.losses.features.orthogonal import OrthogonalDistillation
from keras_kd.losses.features.overhaul import OverhaulDistillation
from keras_kd.losses.features.pearson import PearsonDistillation
from keras_kd.losses.features.review import ReviewDistillation
from keras_kd.losses.features.simple_recipe import SimpleRecipeDistillation
from keras_kd.losses.features.variational import VariationalInformation

__all__ = [
    "AttentionTransfer",
    "ChannelWiseDistillation",
    "ConfidenceWeightedFeatures",
    "FeatureDistillation",
    "InformationDistillation",
    "MaskedGenerativeDistillation",
    "NeuronSelectivityTransfer",
    "OrthogonalDistillation",
    "OverhaulDistillation",
    "PearsonDistillation",
    "ReviewDistillation",
    "SimpleRecipeDistillation",
    "VariationalInformation",
]
