"""How predictions relate to each other within a batch."""

import math
from typing import Any

from keras import ops

from keras_kd.ops.divergences import log_probabilities, squared
from keras_kd.ops.selection import apply_where, kept_rows


def pearson_correlation(
    x: Any, y: Any, *, axis: int = -1, mask: Any = None, epsilon: float = 1e-8
) -> Any:
    """Return Σ x' y' / (|x'| |y'| + ε) along an axis, x' and y' without their means.

    Args:
        x: Tensor of any shape.
        y: Tensor of the same shape.
        axis: The axis to correlate along.
        mask: Tensor of 1 and 0 of the same shape, 0 for an entry that is left out, or
            None.
        epsilon: Positive number ε.

    Returns:
        Tensor without that axis, float32, from −1 to 1; 0 where x or y is constant.

    Example:
    >>> x = np.array([[1.0, 2.0, 3.0]])
    >>> round(float(pearson_correlation(x, 5.0 - 2.0 * x)[0]), 4)
    -1.0
    """
    x, y = kept_rows(mask, x), kept_rows(mask, y)
    mask = ops.ones_like(x) if mask is None else ops.cast(mask, "float32")
    x, x_norm = _centred(x, axis, mask)
    y, y_norm = _centred(y, axis, mask)
    return ops.sum(x * y, axis=axis) / (x_norm * y_norm + epsilon)


def _centred(x: Any, axis: int, mask: Any) -> tuple[Any, Any]:
    """Return x without its mean along the axis, and the norm of that."""
    count = ops.maximum(ops.sum(mask, axis=axis, keepdims=True), 1.0)
    centred = mask * (x - ops.sum(x, axis=axis, keepdims=True) / count)
    size = ops.sum(ops.square(centred), axis=axis)
    # What rounding leaves of a constant is no direction: divided by its own norm, it
    # would be one, with a gradient beyond half precision.
    rounding = 1e-12 * ops.stop_gradient(ops.sum(ops.square(x), axis=axis))
    return centred, apply_where(size > rounding, ops.sqrt, size, otherwise=1.0)


def correlation_distances(
    teacher_logits: Any,
    student_logits: Any,
    *,
    included: Any = None,
    temperature: Any = 1.0,
) -> tuple[Any, Any]:
    """Return T² (1 − ρ) within each example, and averaged over the classes.

    ρ is Pearson's correlation of p = softmax(t / T) and q = softmax(s / T): of the
    classes of one example, then of the examples of one class. It asks of the student
    only how predictions rank and spread, not the probabilities themselves.

    Args:
        teacher_logits: Tensor of shape `(batch, classes)`.
        student_logits: Tensor of the same shape.
        included: Tensor of shape `(batch,)`, 0 for an example that is left out of the
            second value; or None.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(batch,)` and a scalar, float32, from 0 to 2 T². The scalar is
        0 where fewer than two examples are included.

    Example:
    >>> logits = np.array([[1.0, 2.0], [5.0, 3.0]])
    >>> each, classes = correlation_distances(logits, logits)
    >>> each.shape[0], abs(round(float(classes), 4))
    (2, 0.0)

    Reference: Huang et al., 2022, DIST, arXiv:2205.10536.
    """
    t, s = kept_rows(included, teacher_logits), kept_rows(included, student_logits)
    p = ops.exp(log_probabilities(t, temperature=temperature))
    q = ops.exp(log_probabilities(s, temperature=temperature))
    kept = ops.cast(t > -math.inf, "float32")
    within = 1.0 - pearson_correlation(p, q, axis=1, mask=kept)

    if included is not None:
        kept = kept_rows(included, kept)
    of_class = 1.0 - pearson_correlation(p, q, axis=0, mask=kept)
    # A class is a relation where two examples have it.
    related = ops.cast(ops.sum(kept, axis=0) >= 2.0, "float32")
    across = ops.divide_no_nan(ops.sum(related * of_class), ops.sum(related))
    return squared(temperature) * within, squared(temperature) * across


def gram_distances(
    teacher_logits: Any,
    student_logits: Any,
    *,
    included: Any = None,
    temperature: Any = 1.0,
) -> tuple[Any, Any]:
    """Return how far the inner products of examples, and of classes, differ.

    With P = softmax(t / T) and Q = softmax(s / T) of shape `(batch, classes)`: the row
    sums of (P Pᵀ − Q Qᵀ)², one per example, and ‖Pᵀ P − Qᵀ Q‖² / classes.

    Args:
        teacher_logits: Tensor of shape `(batch, classes)`.
        student_logits: Tensor of the same shape.
        included: Tensor of shape `(batch,)`, 0 for an example that is left out, or
            None.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(batch,)` and a scalar, float32, at least 0.

    Example:
    >>> logits = np.array([[1.0, 2.0], [5.0, 3.0]])
    >>> examples, classes = gram_distances(logits, logits)
    >>> examples.shape[0], float(classes)
    (2, 0.0)

    Reference: Jin, Wang and Lin, 2023, multi-level logit distillation, CVPR.
    """
    p, q = (
        # The logits first: the gradient of a softmax passes NaN on.
        kept_rows(
            included,
            ops.exp(
                log_probabilities(kept_rows(included, logits), temperature=temperature)
            ),
        )
        for logits in (teacher_logits, student_logits)
    )
    examples = ops.matmul(p, ops.transpose(p)) - ops.matmul(q, ops.transpose(q))
    classes = ops.matmul(ops.transpose(p), p) - ops.matmul(ops.transpose(q), q)
    return (
        ops.sum(ops.square(examples), axis=-1),
        ops.sum(ops.square(classes)) / p.shape[-1],
    )
