"""Rows for the relations within a batch."""

from keras_kd.losses.features import (
    ChannelWiseDistillation,
    InformationDistillation,
    NeuronSelectivityTransfer,
    PearsonDistillation,
)
from keras_kd.losses.relations import (
    CorrelationCongruence,
    ProbabilisticKnowledgeTransfer,
    RelationalDistillation,
    SimilarityPreserving,
)
from tests.losses import references_relations as ref
from tests.losses.row import Row

VECTORS = {"kind": "features", "relational": True, "scale": 1.0}
UNEVEN = {"teacher": (4, 2, 2, 3), "student": (4, 3, 2), "minimum": None, **VECTORS}

TABLE = {
    "similarity": Row(SimilarityPreserving, ref.similarity, **VECTORS),
    "similarity_uneven": Row(SimilarityPreserving, ref.similarity, **UNEVEN),
    "relational": Row(RelationalDistillation, ref.relational, **VECTORS),
    "relational_uneven": Row(RelationalDistillation, ref.relational, **UNEVEN),
    "relational_distance": Row(
        lambda: RelationalDistillation(angle_weight=0.0),
        lambda t, s: ref.relational(t, s, angle_weight=0.0),
        **VECTORS,
    ),
    "probabilistic": Row(ProbabilisticKnowledgeTransfer, ref.probabilistic, **VECTORS),
    "probabilistic_uneven": Row(
        ProbabilisticKnowledgeTransfer, ref.probabilistic, **UNEVEN
    ),
    "congruence": Row(CorrelationCongruence, ref.congruence, **VECTORS),
    "congruence_uneven": Row(CorrelationCongruence, ref.congruence, **UNEVEN),
    "channel_wise": Row(
        ChannelWiseDistillation,
        ref.channel_wise,
        (3, 2, 3, 4),
        (3, 2, 3, 4),
        kind="features",
    ),
    "neuron_selectivity": Row(
        NeuronSelectivityTransfer,
        ref.neuron_selectivity,
        (3, 2, 3, 4),
        (3, 2, 3, 4),
        kind="features",
    ),
    "neuron_selectivity_uneven": Row(
        NeuronSelectivityTransfer,
        ref.neuron_selectivity,
        (3, 2, 3, 4),
        (3, 2, 3, 2),
        kind="features",
        minimum=None,
    ),
    "pearson": Row(PearsonDistillation, ref.pearson, **VECTORS),
    "pearson_images": Row(
        PearsonDistillation, ref.pearson, (3, 2, 2, 2), (3, 2, 2, 2), **VECTORS
    ),
    "information": Row(
        InformationDistillation, ref.information, **{**VECTORS, "minimum": None}
    ),
}
