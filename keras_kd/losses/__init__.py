"""Methods: what a student learns from."""

from keras_kd.losses import (
    attention,
    data_free,
    features,
    logits,
    peers,
    ranking,
    registry,
    relations,
    self_distillation,
)
from keras_kd.losses.attention import (
    AttentionDistillation,
    AttentionRelationDistillation,
    DistilBertDistillation,
    HiddenStateDistillation,
    TinyBertDistillation,
)
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.data_free import DataFreeDistillation
from keras_kd.losses.divergence import Divergence
from keras_kd.losses.features import (
    AttentionTransfer,
    ChannelWiseDistillation,
    ConfidenceWeightedFeatures,
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
    ClassSubsetDistillation,
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
    TeacherDroppingDistillation,
    TransformedTeacherMatching,
)
from keras_kd.losses.peers import (
    CollaborativeDistillation,
    GatedEnsembleDistillation,
    MutualDistillation,
)
from keras_kd.losses.ranking import MarginDistillation
from keras_kd.losses.registry import Method, get, methods, register
from keras_kd.losses.relations import (
    ContrastiveDistillation,
    CorrelationCongruence,
    ProbabilisticKnowledgeTransfer,
    RelationalDistillation,
    SimilarityPreserving,
)
from keras_kd.losses.self_distillation import (
    ExitDistillation,
    LastBatchDistillation,
    SameClassDistillation,
    ViewAgreementDistillation,
    VirtualTeacherDistillation,
)

for _family in (
    attention,
    data_free,
    features,
    logits,
    peers,
    ranking,
    relations,
    self_distillation,
):
    registry.collect(_family)

__all__ = [
    "AttentionDistillation",
    "AttentionRelationDistillation",
    "AttentionTransfer",
    "ChannelWiseDistillation",
    "ClassSubsetDistillation",
    "CollaborativeDistillation",
    "ConfidenceWeightedDistillation",
    "ConfidenceWeightedFeatures",
    "ContrastiveDistillation",
    "CorrelationCongruence",
    "CorrelationDistillation",
    "CurriculumTemperature",
    "DataFreeDistillation",
    "DecoupledDistillation",
    "DistilBertDistillation",
    "DistillationLoss",
    "Divergence",
    "ExitDistillation",
    "FeatureDistillation",
    "GatedEnsembleDistillation",
    "HardLabelDistillation",
    "HiddenStateDistillation",
    "InformationDistillation",
    "LastBatchDistillation",
    "LogitsDistillation",
    "MarginDistillation",
    "MaskedGenerativeDistillation",
    "Method",
    "MultiLevelLogitDistillation",
    "MutualDistillation",
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
    "SameClassDistillation",
    "SimilarityPreserving",
    "SimpleRecipeDistillation",
    "StepContext",
    "TeacherDroppingDistillation",
    "TinyBertDistillation",
    "TransformedTeacherMatching",
    "VariationalInformation",
    "ViewAgreementDistillation",
    "VirtualTeacherDistillation",
    "get",
    "methods",
    "register",
]
