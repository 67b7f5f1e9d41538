"""Cross-entropy to a teacher whose target is made to count more."""

from typing import Any

from keras import ops

from keras_kd.ops.divergences import log_probabilities
from keras_kd.ops.target_classes import target_mask, where_labelled


def target_enhanced_crossentropy(
    teacher_logits: Any,
    student_logits: Any,
    labels: Any,
    *,
    epsilon: Any = 1.0,
    temperature: Any = 1.0,
) -> Any:
    """Return −Σ ((p + 1_y)^ε − 1_y) log q, with 1_y the one-hot label.

    At ε = 1 this is the cross-entropy of p and q. Above, the target counts for more
    than the teacher gives it, and the other classes for less.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        labels: Integer tensor of shape `(...)`. One that names no class (-1, -100)
            marks a position that is ignored: its value is 0.
        epsilon: Number ε, at least 1.
        temperature: Positive number or scalar tensor of both sides. The value is not
            multiplied by its square.

    Returns:
        Tensor of shape `(...)`, float32.

    Example:
    >>> even, labels = np.zeros((1, 2)), np.array([0])
    >>> round(float(target_enhanced_crossentropy(even, even, labels)[0]), 4)
    0.6931

    Reference: Hao et al., 2023, OFA-KD, arXiv:2310.19444.
    """
    t = ops.cast(teacher_logits, "float32") / temperature
    s = ops.cast(student_logits, "float32") / temperature
    hit = target_mask(labels, t.shape[-1])
    p, log_q = ops.exp(log_probabilities(t)), log_probabilities(s)
    # (p + 1)^ε − 1 of the target, without what cancels where p is small.
    log_base = ops.where(hit, ops.log1p(p), ops.log(ops.where(p > 0.0, p, 1.0)))
    grown = ops.where(hit, ops.expm1(epsilon * log_base), ops.exp(epsilon * log_base))
    share = ops.where(ops.logical_or(hit, p > 0.0), grown, 0.0)
    value = -ops.sum(share * ops.where(share > 0.0, log_q, 0.0), axis=-1)
    return where_labelled(hit, value)
