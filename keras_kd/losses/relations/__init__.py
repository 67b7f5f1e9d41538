"""Methods that compare how the examples of a batch relate to each other."""

from keras_kd.losses.relations.contrastive_distillation import ContrastiveDistillation
from keras_kd.losses.relations.correlation_congruence import CorrelationCongruence
from keras_kd.losses.relations.probabilistic_knowledge_transfer import (
    ProbabilisticKnowledgeTransfer,
)
from keras_kd.losses.relations.relational_distillation import RelationalDistillation
from keras_kd.losses.relations.similarity_preserving import SimilarityPreserving

__all__ = [
    "ContrastiveDistillation",
    "CorrelationCongruence",
    "ProbabilisticKnowledgeTransfer",
    "RelationalDistillation",
    "SimilarityPreserving",
]
