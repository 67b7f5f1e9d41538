"""Methods: what a student learns from."""

from keras_kd.losses import catalogue
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.divergence import Divergence
from keras_kd.losses.features import (
    AttentionTransfer,
    ChannelWiseDistillation,
    FeatureDistillation,
    InformationDistillation,
    MaskedGenerativeDistillation,
    NeuronSelectivityTransfer,
    OrthogonalDistillation,
    OverhaulDistillation,
    PearsonDistillation,
    ReviewDistillation,
    SimpleRecipeDistillation,
    VariationalInformation,
)
from keras_kd.losses.logits import (
    ConfidenceWeightedDistillation,
    CorrelationDistillation,
    CurriculumTemperature,
    DecoupledDistillation,
    HardLabelDistillation,
    LogitsDistillation,
    MultiLevelLogitDistillation,
    NormalizedDistillation,
    OneForAllDistillation,
    RefinedLogitDistillation,
    TransformedTeacherMatching,
)
from keras_kd.losses.registry import Method, get, methods, register
from keras_kd.losses.relations import (
    ContrastiveDistillation,
    CorrelationCongruence,
    ProbabilisticKnowledgeTransfer,
    RelationalDistillation,
    SimilarityPreserving,
)
from keras_kd.losses.self_distillation import VirtualTeacherDistillation
from keras_kd.losses.transformers import (
    AttentionDistillation,
    AttentionRelationDistillation,
    MarginDistillation,
    distilbert,
    hidden_states,
    tinybert,
)

catalogue.register_all()

__all__ = [
    "AttentionDistillation",
    "AttentionRelationDistillation",
    "AttentionTransfer",
    "ChannelWiseDistillation",
    "ConfidenceWeightedDistillation",
    "ContrastiveDistillation",
    "CorrelationCongruence",
    "CorrelationDistillation",
    "CurriculumTemperature",
    "DecoupledDistillation",
    "DistillationLoss",
    "Divergence",
    "FeatureDistillation",
    "HardLabelDistillation",
    "InformationDistillation",
    "LogitsDistillation",
    "MarginDistillation",
    "MaskedGenerativeDistillation",
    "Method",
    "MultiLevelLogitDistillation",
    "NeuronSelectivityTransfer",
    "NormalizedDistillation",
    "OneForAllDistillation",
    "OrthogonalDistillation",
    "OverhaulDistillation",
    "PearsonDistillation",
    "ProbabilisticKnowledgeTransfer",
    "RefinedLogitDistillation",
    "RelationalDistillation",
    "ReviewDistillation",
    "SimilarityPreserving",
    "SimpleRecipeDistillation",
    "StepContext",
    "TransformedTeacherMatching",
    "VariationalInformation",
    "VirtualTeacherDistillation",
    "distilbert",
    "get",
    "hidden_states",
    "methods",
    "register",
    "tinybert",
]
