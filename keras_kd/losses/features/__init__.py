"""Losses on what the layers inside the models produce."""

from keras_kd.losses.features.attention_transfer import AttentionTransfer
from keras_kd.losses.features.channel_wise_distillation import ChannelWiseDistillation
from keras_kd.losses.features.confidence_weighted_features import (
    ConfidenceWeightedFeatures,
)
from keras_kd.losses.features.feature_distillation import FeatureDistillation
from keras_kd.losses.features.information_distillation import InformationDistillation
from keras_kd.losses.features.masked_generative_distillation import (
    MaskedGenerativeDistillation,
)
from keras_kd.losses.features.neuron_selectivity_transfer import (
    NeuronSelectivityTransfer,
)
from keras_kd.losses.features.orthogonal_distillation import OrthogonalDistillation
from keras_kd.losses.features.overhaul_distillation import OverhaulDistillation
from keras_kd.losses.features.pearson_distillation import PearsonDistillation
from keras_kd.losses.features.review_distillation import ReviewDistillation
from keras_kd.losses.features.simple_recipe_distillation import SimpleRecipeDistillation
from keras_kd.losses.features.variational_information import VariationalInformation

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
