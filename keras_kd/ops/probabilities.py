"""Divergences between distributions that are given as probabilities."""

from typing import Any

from keras import ops


def probabilities_kl_divergence(
    teacher_probabilities: Any, student_probabilities: Any, *, epsilon: float = 1e-8
) -> Any:
    """Return Σ p (log(p + ε) − log(q + ε)) for probabilities p and q.

    Attention layers give probabilities, not logits, and exact zeros where a mask
    forbids a key; ε keeps the logarithm and its gradient finite there.

    Args:
        teacher_probabilities: Tensor p of shape `(..., n)` whose rows sum to 1.
        student_probabilities: Tensor q of the same shape.
        epsilon: Positive number ε.

    Returns:
        Tensor of shape `(...)`, float32.

    Example:
    >>> p = np.array([[0.5, 0.5, 0.0]])
    >>> float(probabilities_kl_divergence(p, p)[0])
    0.0
    """
    p = ops.cast(teacher_probabilities, "float32")
    q = ops.cast(student_probabilities, "float32")
    return ops.sum(p * (ops.log(p + epsilon) - ops.log(q + epsilon)), axis=-1)
