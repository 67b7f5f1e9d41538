"""Information between two sides' representations of a batch."""

import math
from typing import Any

from keras import ops

from keras_kd.ops.feature_maps import standardized_channels
from keras_kd.ops.selection import apply_where, kept_rows, unit_vectors

# Of a perfect correlation the logarithm is −∞; float32 resolves no more than this.
_SMALLEST = 1e-6


def correlation_information(
    teacher: Any, student: Any, *, included: Any, alpha: float = 1.01
) -> Any:
    """Return log2 Σ_d |1 − ρ_d|^(2α), with Pearson's correlation ρ of each dimension.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of the same shape.
        included: Tensor of shape `(batch,)` of 1 and 0.
        alpha: Number α, above ½.

    Returns:
        Scalar tensor, float32: from log2 of 1e-6 to 2 α + log2 of the width; 0 where
        fewer than two examples are included.

    Example:
    >>> x = np.array([[1.0], [2.0], [4.0]])
    >>> round(float(correlation_information(x, -x, included=np.ones(3))), 2)
    2.02

    Reference: Miles et al., 2021, ITRD, arXiv:2112.00459.
    """
    t = standardized_channels(teacher, included=included)
    s = standardized_channels(student, included=included)
    count = ops.sum(ops.cast(included, "float32"))
    correlation = ops.sum(t * s, axis=0) / ops.maximum(count - 1.0, 1.0)
    # The gap is at least 0; a root of exactly 0 would have no gradient.
    gap = ops.maximum(1.0 - correlation, 1e-12)
    total = ops.sum(ops.power(gap, 2.0 * alpha))
    value = ops.log(total + _SMALLEST) / math.log(2.0)
    return ops.where(count >= 2.0, value, 0.0)


def mutual_information(teacher: Any, student: Any, *, included: Any) -> Any:
    """Return log2 ‖G_s‖² − log2 ‖G_st‖²: less where the two sides tell more alike.

    G_s is the Gram matrix of the student's unit vectors over its trace, G_st the
    elementwise product of both sides' Gram matrices over its trace: matrix-based
    Rényi entropies of order 2. The teacher's own entropy is constant and left out.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of shape `(batch, any width)`.
        included: Tensor of shape `(batch,)` of 1 and 0.

    Returns:
        Scalar tensor, float32, at least 0; 0 where nothing is included.

    Example:
    >>> x = np.eye(3)
    >>> abs(round(float(mutual_information(x, x, included=np.ones(3))), 4))
    0.0

    Reference: Miles et al., 2021, ITRD, arXiv:2112.00459.
    """
    grams = []
    for x in (teacher, student):
        x = unit_vectors(kept_rows(included, x))
        grams.append(ops.matmul(x, ops.transpose(x)))
    joint = grams[0] * grams[1]
    logs = [_log_norm(gram) for gram in (grams[1], joint)]
    return (logs[0] - logs[1]) / math.log(2.0)


def _log_norm(gram: Any) -> Any:
    """Return log ‖G / trace G‖², and 0 for a matrix of zeros."""
    trace = ops.sum(ops.diagonal(gram))
    filled = trace > 0.0
    scaled = gram / ops.where(filled, trace, 1.0)
    return apply_where(filled, ops.log, ops.sum(ops.square(scaled)))
