"""Rows for the methods on logits."""

import keras_kd
from keras_kd.losses.logits.alpha_beta_distillation import AlphaBetaDistillation
from keras_kd.losses.logits.confidence_weighted_distillation import (
    ConfidenceWeightedDistillation,
)
from keras_kd.losses.logits.correlation_distillation import CorrelationDistillation
from keras_kd.losses.logits.decoupled_distillation import DecoupledDistillation
from keras_kd.losses.logits.multi_level_logit_distillation import (
    MultiLevelLogitDistillation,
)
from keras_kd.losses.logits.normalized_distillation import NormalizedDistillation
from keras_kd.losses.logits.refined_logit_distillation import RefinedLogitDistillation
from keras_kd.losses.logits.transformed_teacher_matching import (
    TransformedTeacherMatching,
)
from keras_kd.losses.self_distillation import VirtualTeacherDistillation
from tests.losses import references_logits as ref
from tests.losses.references import standardize
from tests.losses.row import Row

TOKENS = {"teacher": (2, 3, 5), "student": (2, 3, 5)}
PAIR = {"teacher": (6, 2), "student": (6, 2)}
ONE = {"teacher": (1, 5), "student": (1, 5)}
RELATIONAL = {"relational": True, "scale": 1.0}


def _decoupled(alpha=1.0, beta=8.0, temperature=4.0):
    return lambda t, s, y: ref.decoupled(t, s, y, alpha, beta, temperature)


def _standardized(reference):
    return lambda t, s, *y: reference(standardize(t), standardize(s), *y)


def _normalized(gamma=1.5, temperature=1.0):
    return lambda t, s, y: ref.normalized(t, s, y, gamma, temperature)


def _refined(alpha=1.0, beta=8.0, temperature=4.0, confidence_temperature=1.0):
    return lambda t, s, y: ref.refined(
        t, s, y, alpha, beta, temperature, confidence_temperature
    )


def _correlation(beta=1.0, gamma=1.0, temperature=1.0):
    return lambda t, s: ref.correlation(t, s, beta, gamma, temperature)


def _multi_level(t, s):
    return ref.multi_level(t, s, (2, 3, 4, 5, 6))


def _alpha_beta(t, s, alpha=0.8, beta=0.3, temperature=4.0):
    p, q = ref.softmax(t / temperature), ref.softmax(s / temperature)
    whole = alpha + beta
    terms = p**alpha * q**beta - alpha / whole * p**whole - beta / whole * q**whole
    return -(temperature**2) / (alpha * beta) * terms.sum(-1)


TABLE = {
    "alpha_beta": Row(AlphaBetaDistillation, _alpha_beta),
    "alpha_beta_tokens": Row(
        lambda: AlphaBetaDistillation(0.2, 0.7, 1.0),
        lambda t, s: _alpha_beta(t, s, 0.2, 0.7, 1.0),
        **TOKENS,
    ),
    "symmetric_kl": Row(
        lambda: keras_kd.LogitsDistillation(
            2.0, keras_kd.Divergence("symmetric_kl_divergence", forward_weight=0.3)
        ),
        lambda t, s: ref.symmetric(t, s, 2.0, 0.3),
    ),
    "decoupled": Row(DecoupledDistillation, _decoupled(), labels=True),
    "decoupled_tokens": Row(
        lambda: DecoupledDistillation(0.5, 2.0, 1.0),
        _decoupled(0.5, 2.0, 1.0),
        labels=True,
        **TOKENS,
    ),
    "decoupled_two_classes": Row(
        DecoupledDistillation, _decoupled(), labels=True, **PAIR
    ),
    "decoupled_standardized": Row(
        lambda: DecoupledDistillation(9.0, 72.0, 2.0, standardize=True),
        _standardized(_decoupled(9.0, 72.0, 2.0)),
        labels=True,
    ),
    "normalized": Row(NormalizedDistillation, _normalized(), minimum=None, labels=True),
    "normalized_tokens": Row(
        lambda: NormalizedDistillation(3.5, 3.0),
        _normalized(3.5, 3.0),
        minimum=None,
        labels=True,
        **TOKENS,
    ),
    "normalized_two_classes": Row(
        NormalizedDistillation, _normalized(), minimum=None, labels=True, **PAIR
    ),
    "correlation": Row(CorrelationDistillation, _correlation(), **RELATIONAL),
    "correlation_tempered": Row(
        lambda: CorrelationDistillation(0.7, 2.0, 2.0),
        _correlation(0.7, 2.0, 2.0),
        relational=True,
    ),
    "correlation_two_classes": Row(
        CorrelationDistillation, _correlation(), minimum=None, **RELATIONAL, **PAIR
    ),
    "correlation_one_example": Row(
        CorrelationDistillation, _correlation(), **RELATIONAL, **ONE
    ),
    "transformed_teacher": Row(
        lambda: TransformedTeacherMatching(0.2),
        lambda t, s: ref.transformed_teacher(t, s, 0.2),
        minimum=None,
    ),
    "transformed_teacher_plain": Row(
        lambda: TransformedTeacherMatching(1.0),
        lambda t, s: ref.transformed_teacher(t, s, 1.0),
    ),
    "transformed_teacher_weighted": Row(
        lambda: TransformedTeacherMatching(0.2, weighted=True),
        lambda t, s: ref.transformed_teacher(t, s, 0.2, weighted=True),
        minimum=None,
        **TOKENS,
    ),
    # Labels drawn at random: the teacher is wrong on most, which is the point.
    "refined": Row(RefinedLogitDistillation, _refined(), minimum=None, labels=True),
    "refined_tokens": Row(
        lambda: RefinedLogitDistillation(0.5, 2.0, 1.0, 4.0),
        _refined(0.5, 2.0, 1.0, 4.0),
        minimum=None,
        labels=True,
        **TOKENS,
    ),
    "refined_two_classes": Row(
        RefinedLogitDistillation, _refined(), minimum=None, labels=True, **PAIR
    ),
    "refined_standardized": Row(
        lambda: RefinedLogitDistillation(standardize=True),
        _standardized(_refined()),
        minimum=None,
        labels=True,
    ),
    "multi_level": Row(MultiLevelLogitDistillation, _multi_level, **RELATIONAL),
    "multi_level_standardized": Row(
        lambda: MultiLevelLogitDistillation(standardize=True),
        _standardized(_multi_level),
        **RELATIONAL,
    ),
    "confidence": Row(
        lambda: ConfidenceWeightedDistillation(2, 2.0),
        lambda t, s, y: ref.confidence(t, s, y, 2.0),
        teacher=[(6, 5), (6, 5)],
        minimum=None,
        labels=True,
    ),
    "virtual_teacher": Row(
        VirtualTeacherDistillation,
        lambda t, s, y: ref.virtual_teacher(s, y, 0.99, 20.0),
        minimum=None,
        labels=True,
    ),
    "virtual_teacher_tokens": Row(
        lambda: VirtualTeacherDistillation(0.9, 0.5),
        lambda t, s, y: ref.virtual_teacher(s, y, 0.9, 0.5),
        minimum=None,
        labels=True,
        **TOKENS,
    ),
}
