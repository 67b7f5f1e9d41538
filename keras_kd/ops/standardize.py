"""Standardised logits."""

import math
from typing import Any

from keras import ops

from keras_kd.ops.selection import apply_where


def standardize(logits: Any, *, epsilon: float = 1e-7) -> Any:
    """Return (x − mean) / (std + ε) over the last axis, with the unbiased std.

    The student then need not match the range of the teacher's logits, only their
    relations. A logit of -inf, which leaves a class out, stays as it is.

    Args:
        logits: Tensor of shape `(..., classes)` with at least two classes.
        epsilon: Positive number ε.

    Returns:
        Tensor of the shape of `logits`, float32.

    Example:
    >>> [round(float(z), 3) for z in standardize(np.array([1.0, 2.0, 3.0]))]
    [-1.0, 0.0, 1.0]

    Reference: Sun et al., 2024, logit standardization, arXiv:2403.01427.
    """
    logits = ops.cast(logits, "float32")
    kept = logits > -math.inf
    count = ops.sum(ops.cast(kept, "float32"), axis=-1, keepdims=True)
    values = ops.where(kept, logits, 0.0)
    mean = ops.sum(values, axis=-1, keepdims=True) / count
    centred = ops.where(kept, values - mean, 0.0)
    total = ops.sum(ops.square(centred), axis=-1, keepdims=True)
    variance = ops.divide_no_nan(total, count - 1.0)
    # Where all logits are equal the square root has no gradient, and a division by ε
    # would make one that half precision cannot hold; they stay 0 as they are. So does
    # what rounding of their mean leaves of them.
    spread = variance > 1e-12 * ops.stop_gradient(ops.square(mean))
    std = apply_where(spread, ops.sqrt, variance, otherwise=1.0)
    return ops.where(kept, centred / (std + epsilon), -math.inf)
