"""A teacher whose probabilities are raised to a power, and a student left as it is."""

from typing import Any

from keras import ops

from keras_kd.ops.divergences import expected_gap, log_probabilities


def transformed_teacher_kl_divergence(
    teacher_logits: Any,
    student_logits: Any,
    *,
    gamma: Any = 0.1,
    weighted: bool = False,
) -> Any:
    """Return KL(p^γ / Σ p^γ ‖ softmax(s)), optionally times Σ p^γ.

    With p = softmax(t), the power transform is a temperature of 1/γ on the teacher
    alone. Without one on the student, the divergence also rewards a student that is
    less sure of itself (a Rényi entropy). Σ p^γ is larger the more classes the teacher
    hesitates between: the weight gives such examples more say.

    Args:
        teacher_logits: Tensor of shape `(..., classes)`.
        student_logits: Tensor of the same shape.
        gamma: Positive exponent γ; below 1 it softens the teacher. Number or scalar
            tensor.
        weighted: Whether to multiply by Σ p^γ.

    Returns:
        Tensor of shape `(...)`, float32, at least 0.

    Example:
    >>> logits = np.array([[1.0, 2.0, 3.0]])
    >>> float(transformed_teacher_kl_divergence(logits, logits, gamma=1.0)[0])
    0.0

    Reference: Zheng and Yang, 2024, arXiv:2402.11148.
    """
    gamma = ops.cast(gamma, "float32")
    powers = gamma * log_probabilities(teacher_logits)
    value = expected_gap(log_probabilities(powers), log_probabilities(student_logits))
    if weighted:
        value *= ops.exp(ops.logsumexp(powers, axis=-1))
    return value
