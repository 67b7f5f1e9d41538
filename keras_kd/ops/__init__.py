"""Pure functions on tensors: unreduced, in float32, in logarithms."""

from keras_kd.ops.attention_maps import spatial_attention
from keras_kd.ops.attention_relations import attention_relation_kl_divergence
from keras_kd.ops.contrast import contrastive_loss
from keras_kd.ops.correlations import (
    correlation_distances,
    gram_distances,
    pearson_correlation,
)
from keras_kd.ops.divergences import (
    adaptive_kl_divergence,
    binary_kl_divergence,
    categorical_crossentropy,
    jensen_shannon_divergence,
    kl_divergence,
    log_probabilities,
    reverse_kl_divergence,
    skew_kl_divergence,
    skew_reverse_kl_divergence,
    symmetric_kl_divergence,
    total_variation_distance,
)
from keras_kd.ops.ensembles import (
    best_logits,
    confidence_weights,
    entropy_weights,
    label_crossentropy,
    lowest_margin_logits,
    mean_of_logits,
    mean_of_probabilities,
)
from keras_kd.ops.feature_maps import (
    channel_wise_kl_divergence,
    hierarchical_context_distance,
    neuron_selectivity_distance,
    partial_squared_distance,
)
from keras_kd.ops.information import (
    correlation_information,
    mutual_information,
)
from keras_kd.ops.kept_teachers import kept_teachers
from keras_kd.ops.pairs import pair_indices, pair_kl_divergence
from keras_kd.ops.probabilities import probabilities_kl_divergence
from keras_kd.ops.relations import (
    correlation_congruence,
    probabilistic_divergence,
    relational_angle,
    relational_distance,
    similarity_distance,
)
from keras_kd.ops.resize import adaptive_average_pool
from keras_kd.ops.standardize import standardize
from keras_kd.ops.target_classes import (
    decoupled_kl_divergence,
    normalized_crossentropy,
    refined_kl_divergence,
    virtual_teacher_kl_divergence,
)
from keras_kd.ops.target_enhancement import target_enhanced_crossentropy
from keras_kd.ops.transformed_teacher import transformed_teacher_kl_divergence

__all__ = [
    "adaptive_average_pool",
    "adaptive_kl_divergence",
    "attention_relation_kl_divergence",
    "best_logits",
    "binary_kl_divergence",
    "categorical_crossentropy",
    "channel_wise_kl_divergence",
    "confidence_weights",
    "contrastive_loss",
    "correlation_congruence",
    "correlation_distances",
    "correlation_information",
    "decoupled_kl_divergence",
    "entropy_weights",
    "gram_distances",
    "hierarchical_context_distance",
    "jensen_shannon_divergence",
    "kept_teachers",
    "kl_divergence",
    "label_crossentropy",
    "log_probabilities",
    "lowest_margin_logits",
    "mean_of_logits",
    "mean_of_probabilities",
    "mutual_information",
    "neuron_selectivity_distance",
    "normalized_crossentropy",
    "pair_indices",
    "pair_kl_divergence",
    "partial_squared_distance",
    "pearson_correlation",
    "probabilistic_divergence",
    "probabilities_kl_divergence",
    "refined_kl_divergence",
    "relational_angle",
    "relational_distance",
    "reverse_kl_divergence",
    "similarity_distance",
    "skew_kl_divergence",
    "skew_reverse_kl_divergence",
    "spatial_attention",
    "standardize",
    "symmetric_kl_divergence",
    "target_enhanced_crossentropy",
    "total_variation_distance",
    "transformed_teacher_kl_divergence",
    "virtual_teacher_kl_divergence",
]
