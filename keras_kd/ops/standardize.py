"""Standardised logits."""

from typing import Any

from keras import ops


def standardize(logits: Any, *, epsilon: float = 1e-7) -> Any:
    """Return (x − mean) / (std + ε) over the last axis, with the unbiased std.

    The student then need not match the range of the teacher's logits, only their
    relations.

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
    centred = logits - ops.mean(logits, axis=-1, keepdims=True)
    total = ops.sum(ops.square(centred), axis=-1, keepdims=True)
    variance = total / (logits.shape[-1] - 1)
    # The square root has no gradient at 0, where all logits are equal.
    positive = variance > 0.0
    std = ops.where(positive, ops.sqrt(ops.where(positive, variance, 1.0)), 0.0)
    return centred / (std + epsilon)
