"""Divergences that treat the labelled class, the target, apart from the others.

All of them take logits of shape `(..., classes)` and integer labels of shape `(...)`,
compute in float32 and in logarithms, and return one value per distribution. A logit
of -inf stands for a class that is left out. A label that names no class (-1, -100, 255
of fewer classes) marks a position that is ignored: its value is 0.
"""

import math
from typing import Any

from keras import ops

from keras_kd.ops.divergences import (
    expected_gap,
    gap_of_each,
    log_probabilities,
    squared,
)
from keras_kd.ops.selection import weighted


def target_mask(labels: Any, classes: int) -> Any:
    """Return where the target stands, one row per label.

    Args:
        labels: Integer tensor of shape `(...)`.
        classes: Number of classes.

    Returns:
        Boolean tensor of shape `(..., classes)`, all False for a label that names no
        class.

    Example:
    >>> [bool(hit) for hit in target_mask(np.array([1]), 3)[0]]
    [False, True, False]
    """
    labels = ops.expand_dims(ops.cast(labels, "int32"), -1)
    return ops.equal(labels, ops.arange(classes, dtype="int32"))


def names_class(labels: Any, classes: int) -> Any:
    """Return whether each label names one of the classes.

    Args:
        labels: Integer tensor of shape `(...)`.
        classes: Number of classes.

    Returns:
        Boolean tensor of shape `(...)`.

    Example:
    >>> [bool(named) for named in names_class(np.array([0, 2, 3, -1, 255]), 3)]
    [True, True, False, False, False]
    """
    labels = ops.cast(labels, "int32")
    return ops.logical_and(labels >= 0, labels < classes)


def _tempered(logits: Any, temperature: Any) -> Any:
    return ops.cast(logits, "float32") / ops.cast(temperature, "float32")


def _at(mask: Any, values: Any) -> Any:
    """Return the one value of each row that the mask marks, or 0 without any."""
    return ops.sum(ops.where(mask, values, 0.0), axis=-1)


def where_labelled(is_target: Any, values: Any) -> Any:
    """Return the values of the labels that name a class, and 0 of the others."""
    return ops.where(ops.any(is_target, axis=-1), values, 0.0)


def _among(logits: Any, kept: Any) -> tuple[Any, Any]:
    """Return what a function of the kept logits may read, and which rows hold any.

    A row without any becomes zeros, so that no gradient is 0 · inf; what is computed
    from it has to be replaced.
    """
    kept = ops.logical_and(kept, logits > -math.inf)
    any_kept = ops.any(kept, axis=-1)
    only = ops.where(kept, logits, -math.inf)
    return ops.where(ops.expand_dims(any_kept, -1), only, 0.0), any_kept


def _kl_among(teacher: Any, student: Any, kept: Any) -> Any:
    """Return KL of the two distributions over the kept classes; 0 without any."""
    (t, any_t), (s, any_s) = _among(teacher, kept), _among(student, kept)
    value = expected_gap(log_probabilities(t), log_probabilities(s))
    return ops.where(ops.logical_and(any_t, any_s), value, 0.0)


def _log_pair(logits: Any, chosen: Any) -> tuple[Any, Any]:
    """Return the log probabilities of the chosen class and of all the others."""
    log_p = log_probabilities(logits)
    others, any_other = _among(log_p, ops.logical_not(chosen))
    log_rest = ops.where(any_other, ops.logsumexp(others, axis=-1), -math.inf)
    return _at(chosen, log_p), log_rest


def _binary_kl(teacher: tuple[Any, Any], student: tuple[Any, Any]) -> Any:
    """Return KL of two distributions over a class and all others, as log pairs."""
    return sum(
        gap_of_each(ops.exp(log_p), log_p, log_q)
        for log_p, log_q in zip(teacher, student, strict=True)
    )


def decoupled_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    labels: Any,
    *,
    alpha: Any = 1.0,
    beta: Any = 8.0,
    temperature: Any = 4.0,
) -> Any:
    """Return T² · (α TCKD + β NCKD): KL on the target, and among the other classes.

    TCKD is the KL divergence of the pairs (p_y, 1 − p_y) and (q_y, 1 − q_y) of the
    target y against all others; NCKD is that of p and q renormalised over the others.
    KL(p ‖ q) = TCKD + (1 − p_y) · NCKD: for a teacher that is sure, plain KL hardly
    teaches the ranking of the others, which β restores.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        labels: Integer tensor of shape `(...)`.
        alpha: Weight α, at least 0: a number or a tensor that broadcasts to `(...)`.
        beta: Weight β, the same.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0. With two classes NCKD is 0.

    Example:
    >>> logits, labels = np.array([[1.0, 2.0, 3.0]]), np.array([2])
    >>> float(decoupled_kl_divergence(logits, logits, labels)[0])
    0.0

    Reference: Zhao et al., 2022, arXiv:2203.08679.
    """
    t = _tempered(teacher_logits, temperature)
    s = _tempered(student_logits, temperature)
    is_target = target_mask(labels, t.shape[-1])
    target = _binary_kl(_log_pair(t, is_target), _log_pair(s, is_target))
    others = _kl_among(t, s, ops.logical_not(is_target))
    value = squared(temperature) * (weighted(alpha, target) + weighted(beta, others))
    return where_labelled(is_target, value)


def normalized_crossentropy(
    teacher_logits: Any,
    student_logits: Any,
    labels: Any,
    *,
    gamma: Any = 1.5,
    temperature: Any = 1.0,
) -> Any:
    """Return −p_y log q_y − γ T² Σ p̂ log q̂, the sum over the classes but the target.

    p_y and q_y are the two probabilities of the target at temperature 1; p̂ and q̂ are
    the distributions at temperature T, renormalised over the other classes.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        labels: Integer tensor of shape `(...)`.
        gamma: Weight γ of the other classes, at least 0.
        temperature: Positive number or scalar tensor T, of the other classes only.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> even, labels = np.zeros((1, 3)), np.array([0])
    >>> round(float(normalized_crossentropy(even, even, labels, gamma=0.0)[0]), 4)
    0.3662

    Reference: Yang et al., 2023, arXiv:2303.13005.
    """
    t, s = ops.cast(teacher_logits, "float32"), ops.cast(student_logits, "float32")
    is_target = target_mask(labels, t.shape[-1])
    p_y = ops.exp(_at(is_target, log_probabilities(t)))
    log_q_y = _at(is_target, log_probabilities(s))
    target = -p_y * ops.where(p_y > 0.0, log_q_y, 0.0)

    is_other = ops.logical_not(is_target)
    t, any_t = _among(_tempered(t, temperature), is_other)
    s, any_s = _among(_tempered(s, temperature), is_other)
    p, log_q = ops.exp(log_probabilities(t)), log_probabilities(s)
    others = -ops.sum(p * ops.where(p > 0.0, log_q, 0.0), axis=-1)
    others = ops.where(ops.logical_and(any_t, any_s), others, 0.0)
    value = target + squared(temperature) * weighted(gamma, others)
    return where_labelled(is_target, value)


def refined_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    labels: Any,
    *,
    alpha: Any = 1.0,
    beta: Any = 8.0,
    temperature: Any = 4.0,
    confidence_temperature: Any = 1.0,
) -> Any:
    """Return α T_c² · SCD + β T² · MCD, which corrects a teacher that is wrong.

    SCD (sample confidence) is the KL divergence of two pairs at temperature T_c: the
    teacher's largest probability against the rest, and the student's probability of
    the label against the rest. The student learns how sure to be, and of the label.
    MCD (masked correlation) is the KL divergence at temperature T of the two
    distributions over the classes that the teacher places below the label; 0 where
    there is none.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        labels: Integer tensor of shape `(...)`.
        alpha: Weight α, at least 0.
        beta: Weight β, at least 0.
        temperature: Positive number or scalar tensor T.
        confidence_temperature: Positive number or scalar tensor T_c.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> logits, labels = np.array([[1.0, 2.0, 3.0]]), np.array([2])
    >>> float(refined_kl_divergence(logits, logits, labels)[0])
    0.0

    Reference: Sun et al., 2024, arXiv:2408.07703.
    """
    t, s = ops.cast(teacher_logits, "float32"), ops.cast(student_logits, "float32")
    classes = t.shape[-1]
    is_target = target_mask(labels, classes)
    is_first = target_mask(ops.argmax(t, axis=-1), classes)
    confidence = squared(confidence_temperature) * _binary_kl(
        _log_pair(_tempered(t, confidence_temperature), is_first),
        _log_pair(_tempered(s, confidence_temperature), is_target),
    )
    below = t < ops.expand_dims(_at(is_target, t), -1)
    correlation = squared(temperature) * _kl_among(
        _tempered(t, temperature), _tempered(s, temperature), below
    )
    value = weighted(alpha, confidence) + weighted(beta, correlation)
    return where_labelled(is_target, value)


def virtual_teacher_kl_divergence(
    student_logits: Any,
    labels: Any,
    *,
    correct_probability: float = 0.99,
    temperature: Any = 20.0,
) -> Any:
    """Return KL(softmax(u / T) ‖ softmax(s)) for a teacher u made of the label.

    u gives the label the probability a and each other class (1 − a) / (C − 1). As in
    the paper, T divides these probabilities, not their logarithms, the student is not
    tempered, and there is no factor T².

    Args:
        student_logits: Tensor of shape `(..., classes)`.
        labels: Integer tensor of shape `(...)`.
        correct_probability: Probability a, from 0 to 1.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Raises:
        ValueError: If `correct_probability` is not in [0, 1].

    Example:
    >>> even, labels = np.zeros((1, 2)), np.array([0])
    >>> round(float(virtual_teacher_kl_divergence(even, labels, temperature=1.0)[0]), 4)
    0.107

    Reference: Yuan et al., 2020, Tf-KD, arXiv:1909.11723.
    """
    if not 0.0 <= correct_probability <= 1.0:
        raise ValueError(
            "`correct_probability` must be from 0 to 1. "
            f"Received: {correct_probability=}"
        )
    s = ops.cast(student_logits, "float32")
    is_target = target_mask(labels, s.shape[-1])
    # A class that the student leaves out is no class of the teacher's either.
    kept = s > -math.inf
    others = ops.sum(ops.cast(kept, "float32"), axis=-1, keepdims=True) - 1.0
    wrong = ops.divide_no_nan(1.0 - correct_probability, others)
    u = ops.where(is_target, correct_probability, wrong)
    u = ops.where(kept, u, -math.inf)
    log_p = log_probabilities(u, temperature=temperature)
    value = expected_gap(log_p, log_probabilities(s))
    return where_labelled(is_target, value)
