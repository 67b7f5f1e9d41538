"""Methods that compare how the examples of a batch relate to each other."""

from keras_kd.losses.relations.congruence import CorrelationCongruence
from keras_kd.losses.relations.contrastive import ContrastiveDistillation
from keras_kd.losses.relations.probabilistic import ProbabilisticKnowledgeTransfer
from keras_kd.losses.relations.relational import RelationalDistillation
from keras_kd.losses.relations.similarity import SimilarityPreserving

__all__ = [
    "ContrastiveDistillation",
    "CorrelationCongruence",
    "ProbabilisticKnowledgeTransfer",
    "RelationalDistillation",
    "SimilarityPreserving",
]
