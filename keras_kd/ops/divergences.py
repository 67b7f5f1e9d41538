"""Divergences between the distributions that two sets of logits stand for.

All of them take logits of shape `(..., classes)` in any float type, compute in
float32 and in logarithms, and return one value per distribution, of shape `(...)`.
With p = softmax(teacher_logits / T) and q = softmax(student_logits / T), a factor T²
keeps the size of the gradient independent of the temperature T (Hinton et al., 2015,
arXiv:1503.02531). A logit of -inf stands for a class that is left out.
"""

import math
from typing import Any

from keras import ops


def log_probabilities(logits: Any, *, temperature: Any = 1.0) -> Any:
    """Return log softmax(logits / temperature) in float32.

    Args:
        logits: Tensor of shape `(..., classes)`.
        temperature: Positive number or scalar tensor.

    Returns:
        Tensor of the shape of `logits`, float32.

    Example:
    >>> round(float(log_probabilities(np.array([0.0, 0.0]))[0]), 4)
    -0.6931
    """
    logits = ops.cast(logits, "float32")
    return ops.log_softmax(logits / ops.cast(temperature, "float32"), axis=-1)


def expected_gap(log_p: Any, log_q: Any) -> Any:
    """Return Σ p (log p − log q), where a class without probability adds nothing."""
    return ops.sum(gap_of_each(ops.exp(log_p), log_p, log_q), axis=-1)


def gap_of_each(p: Any, log_p: Any, log_q: Any) -> Any:
    """Return p (log p − log q), and 0 where p is 0."""
    # Of such a class both logarithms may be −inf. They are taken out before they are
    # subtracted: the gradient of p is their difference, and must be a number too.
    has_mass = p > 0.0
    log_p, log_q = ops.where(has_mass, log_p, 0.0), ops.where(has_mass, log_q, 0.0)
    return p * (log_p - log_q)


def squared(temperature: Any) -> Any:
    """Return T² in float32."""
    return ops.square(ops.cast(temperature, "float32"))


def kl_divergence(
    teacher_logits: Any, student_logits: Any, *, temperature: Any = 1.0
) -> Any:
    """Return T² · KL(p ‖ q) = T² · Σ p (log p − log q).

    Its gradient with respect to the student's logits is T (q − p).

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        temperature: Positive number or scalar tensor T. Usual values: 1 to 20.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> float(kl_divergence(logits, logits + 3.0, temperature=2.0)[0])
    0.0

    Reference: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531.
    """
    log_p = log_probabilities(teacher_logits, temperature=temperature)
    log_q = log_probabilities(student_logits, temperature=temperature)
    return squared(temperature) * expected_gap(log_p, log_q)


def reverse_kl_divergence(
    teacher_logits: Any, student_logits: Any, *, temperature: Any = 1.0
) -> Any:
    """Return T² · KL(q ‖ p): the student is punished for what the teacher rules out.

    With d = log q − log p, its gradient with respect to the student's logits is
    T · q (d − Σ q d).

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> float(reverse_kl_divergence(logits, logits)[0])
    0.0

    Reference: Gu et al., 2024, MiniLLM, arXiv:2306.08543.
    """
    return kl_divergence(student_logits, teacher_logits, temperature=temperature)


def jensen_shannon_divergence(
    teacher_logits: Any,
    student_logits: Any,
    *,
    beta: float = 0.5,
    temperature: Any = 1.0,
) -> Any:
    """Return T² · (β KL(p ‖ m) + (1 − β) KL(q ‖ m)) with m = β p + (1 − β) q.

    The mixture is formed from the logarithms (logaddexp); averaging log probabilities
    would be another divergence. At β = 0 and β = 1 the formula is 0 for any input;
    there the limits of JSD / β and JSD / (1 − β) are returned, which are
    KL(p ‖ q) and KL(q ‖ p).

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        beta: Weight of the teacher in the mixture, from 0 to 1.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Raises:
        ValueError: If `beta` is not in [0, 1].

    Example:
    >>> far = np.array([[99.0, 0.0]]), np.array([[0.0, 99.0]])
    >>> round(float(jensen_shannon_divergence(*far)[0]), 4)  # log 2
    0.6931

    Reference: Agarwal et al., 2024, GKD, arXiv:2306.13649.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"`beta` must be from 0 to 1. Received: beta={beta!r}")
    if beta == 0.0:
        return kl_divergence(teacher_logits, student_logits, temperature=temperature)
    if beta == 1.0:
        return kl_divergence(student_logits, teacher_logits, temperature=temperature)
    log_p = log_probabilities(teacher_logits, temperature=temperature)
    log_q = log_probabilities(student_logits, temperature=temperature)
    log_m = _log_mixture(log_p, log_q, beta)
    value = beta * expected_gap(log_p, log_m)
    value += (1.0 - beta) * expected_gap(log_q, log_m)
    return squared(temperature) * value


def _log_mixture(log_p: Any, log_q: Any, weight: float) -> Any:
    """Return log(weight · p + (1 − weight) · q)."""
    first = log_p + math.log(weight)
    second = log_q + math.log1p(-weight)
    high = ops.maximum(first, second)
    low = ops.minimum(first, second)
    # A class left out on both sides is −inf in both, and −inf − (−inf) no number.
    both_out = ops.isinf(high)
    gap = ops.where(both_out, 0.0, low - ops.where(both_out, 0.0, high))
    return ops.where(both_out, high, high + ops.log1p(ops.exp(gap)))


def skew_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    *,
    alpha: float = 0.1,
    temperature: Any = 1.0,
) -> Any:
    """Return T² · KL(p ‖ α p + (1 − α) q): bounded where the student gives nothing.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        alpha: Share of the teacher in the mixture, from 0 to below 1.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, from 0 to −T² log α.

    Raises:
        ValueError: If `alpha` is not in [0, 1).

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> abs(round(float(skew_kl_divergence(logits, logits)[0]), 6))
    0.0

    Reference: Ko et al., 2024, DistiLLM, arXiv:2402.03898.
    """
    if not 0.0 <= alpha < 1.0:
        raise ValueError(
            f"`alpha` must be at least 0 and below 1. Received: alpha={alpha!r}"
        )
    if alpha == 0.0:
        return kl_divergence(teacher_logits, student_logits, temperature=temperature)
    log_p = log_probabilities(teacher_logits, temperature=temperature)
    log_q = log_probabilities(student_logits, temperature=temperature)
    mixture = _log_mixture(log_p, log_q, alpha)
    return squared(temperature) * expected_gap(log_p, mixture)


def skew_reverse_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    *,
    alpha: float = 0.1,
    temperature: Any = 1.0,
) -> Any:
    """Return T² · KL(q ‖ (1 − α) p + α q).

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        alpha: Share of the student in the mixture, from 0 to below 1.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, from 0 to −T² log α.

    Raises:
        ValueError: If `alpha` is not in [0, 1).

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> abs(round(float(skew_reverse_kl_divergence(logits, logits)[0]), 6))
    0.0

    Reference: Ko et al., 2024, DistiLLM, arXiv:2402.03898.
    """
    return skew_kl_divergence(
        student_logits, teacher_logits, alpha=alpha, temperature=temperature
    )


def symmetric_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    *,
    forward_weight: float = 0.5,
    temperature: Any = 1.0,
) -> Any:
    """Return T² · (λ KL(p ‖ q) + (1 − λ) KL(q ‖ p)).

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        forward_weight: The weight λ of KL(p ‖ q), from 0 to 1. At 0.5 it is half of
            Jeffreys' divergence.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Raises:
        ValueError: If `forward_weight` is not in [0, 1].

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> float(symmetric_kl_divergence(logits, logits, temperature=2.0)[0])
    0.0

    Reference: Kullback and Leibler, 1951, On information and sufficiency.
    """
    if not 0.0 <= forward_weight <= 1.0:
        raise ValueError(
            f"`forward_weight` must be from 0 to 1. Received: {forward_weight=}"
        )
    log_p = log_probabilities(teacher_logits, temperature=temperature)
    log_q = log_probabilities(student_logits, temperature=temperature)
    value = _both_ways(log_p, log_q, forward_weight)
    return squared(temperature) * value


def _both_ways(log_p: Any, log_q: Any, weight: Any) -> Any:
    """Return weight · KL(p ‖ q) + (1 − weight) · KL(q ‖ p)."""
    # A side of weight 0 may be infinite, where the other model leaves a class out.
    weight = ops.cast(weight, "float32")
    forward = expected_gap(log_p, _where_row(weight > 0.0, log_q, log_p))
    reverse = expected_gap(log_q, _where_row(weight < 1.0, log_p, log_q))
    return weight * forward + (1.0 - weight) * reverse


def _where_row(condition: Any, rows: Any, otherwise: Any) -> Any:
    return ops.where(ops.expand_dims(condition, -1), rows, otherwise)


def adaptive_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    *,
    alpha: float = 0.5,
    temperature: Any = 1.0,
) -> Any:
    """Return T² · (w KL(p ‖ q) + (1 − w) KL(q ‖ p)), w where the student is off.

    Forward KL fits the classes that the teacher prefers first, reverse KL those that
    it rules out. The head holds the teacher's most probable classes, whose
    probabilities add up to at most α, and always the first one; the tail holds the
    others. w = gap(head) / (gap(head) + gap(tail)) with gap = Σ |p − q|, a constant
    for the gradient; 0.5 where p = q.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        alpha: Mass α of the head, from 0 to 1. The paper's is 0.5.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Raises:
        ValueError: If `alpha` is not in [0, 1].

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> float(adaptive_kl_divergence(logits, logits)[0])
    0.0

    Reference: Wu et al., 2025, adaptive KL divergence, arXiv:2404.02657.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"`alpha` must be from 0 to 1. Received: alpha={alpha!r}")
    log_p = log_probabilities(teacher_logits, temperature=temperature)
    log_q = log_probabilities(student_logits, temperature=temperature)
    weight = ops.stop_gradient(_share_of_head(ops.exp(log_p), ops.exp(log_q), alpha))
    return squared(temperature) * _both_ways(log_p, log_q, weight)


def _share_of_head(p: Any, q: Any, alpha: float) -> Any:
    order = ops.argsort(-p, axis=-1)
    p = ops.take_along_axis(p, order, axis=-1)
    gap = ops.abs(p - ops.take_along_axis(q, order, axis=-1))
    is_first = ops.arange(p.shape[-1]) == 0
    is_head = ops.logical_or(ops.cumsum(p, axis=-1) <= alpha, is_first)
    head = ops.sum(ops.where(is_head, gap, 0.0), axis=-1)
    total = ops.sum(gap, axis=-1)
    return ops.where(total > 0.0, ops.divide_no_nan(head, total), 0.5)


def total_variation_distance(
    teacher_logits: Any, student_logits: Any, *, temperature: Any = 1.0
) -> Any:
    """Return ½ Σ |p − q|, without a factor of the temperature.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, from 0 to 1.

    Example:
    >>> far = np.array([[99.0, 0.0]]), np.array([[0.0, 99.0]])
    >>> float(total_variation_distance(*far)[0])
    1.0

    Reference: Wen et al., 2023, f-divergence minimisation, arXiv:2307.15190.
    """
    p = ops.exp(log_probabilities(teacher_logits, temperature=temperature))
    q = ops.exp(log_probabilities(student_logits, temperature=temperature))
    return 0.5 * ops.sum(ops.abs(p - q), axis=-1)


def categorical_crossentropy(
    teacher_logits: Any, student_logits: Any, *, temperature: Any = 1.0
) -> Any:
    """Return −T² · Σ p log q: the KL divergence plus the teacher's entropy.

    It has the gradient of `kl_divergence`; its minimum is T² times the entropy of p.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> even = np.zeros((1, 2))
    >>> round(float(categorical_crossentropy(even, even)[0]), 4)
    0.6931

    Reference: Hinton, Vinyals and Dean, 2015, arXiv:1503.02531.
    """
    p = ops.exp(log_probabilities(teacher_logits, temperature=temperature))
    log_q = log_probabilities(student_logits, temperature=temperature)
    value = -ops.sum(p * ops.where(p > 0.0, log_q, 0.0), axis=-1)
    return squared(temperature) * value


def binary_kl_divergence(
    teacher_logits: Any, student_logits: Any, *, temperature: Any = 1.0
) -> Any:
    """Return T² · Σ over classes of KL between two Bernoulli distributions.

    Each class is a question of its own, as in multi-label classification: p and q are
    sigmoid(logits / T), and a class adds p log(p / q) + (1 − p) log((1 − p) / (1 − q)).

    Args:
        teacher_logits: Tensor of shape `(..., classes)`; one class will do.
        student_logits: Tensor of the same shape.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> float(binary_kl_divergence(np.array([[2.0]]), np.array([[2.0]]))[0])
    0.0

    Reference: Yang et al., 2023, multi-label logits distillation, arXiv:2308.06453.
    """
    temperature = ops.cast(temperature, "float32")
    t = ops.cast(teacher_logits, "float32") / temperature
    s = ops.cast(student_logits, "float32") / temperature
    # log sigmoid(x) and log(1 − sigmoid(x)) = log sigmoid(−x), exact at any x.
    yes = gap_of_each(ops.sigmoid(t), ops.log_sigmoid(t), ops.log_sigmoid(s))
    no = gap_of_each(ops.sigmoid(-t), ops.log_sigmoid(-t), ops.log_sigmoid(-s))
    return ops.square(temperature) * ops.sum(yes + no, axis=-1)
