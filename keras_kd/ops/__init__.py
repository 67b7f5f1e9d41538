"""Pure functions on tensors: unreduced, in float32, in logarithms."""

from keras_kd.ops.attention_maps import spatial_attention
from keras_kd.ops.divergences import (
    binary_kl_divergence,
    categorical_crossentropy,
    jensen_shannon_divergence,
    kl_divergence,
    log_probabilities,
    reverse_kl_divergence,
    skew_kl_divergence,
    skew_reverse_kl_divergence,
    total_variation_distance,
)
from keras_kd.ops.probabilities import probabilities_kl_divergence
from keras_kd.ops.resize import adaptive_average_pool
from keras_kd.ops.standardize import standardize

__all__ = [
    "adaptive_average_pool",
    "binary_kl_divergence",
    "categorical_crossentropy",
    "jensen_shannon_divergence",
    "kl_divergence",
    "log_probabilities",
    "probabilities_kl_divergence",
    "reverse_kl_divergence",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "spatial_attention",
    "standardize",
    "total_variation_distance",
]
