"""Which of several teachers count for an example."""

from typing import Any

from keras import ops


def kept_teachers(losses: Any, draws: Any, *, drop_rate: Any = 0.5) -> Any:
    """Return 1 for a teacher that is kept and 0 for one that is dropped.

    The teacher with the largest loss is always kept (the first of several). Any other
    is dropped where its draw lies below the rate.

    Args:
        losses: The loss of each teacher, a tensor of shape `(teachers, ...)`.
        draws: Numbers from 0 to below 1, a tensor of the same shape.
        drop_rate: Number or scalar tensor from 0 to 1.

    Returns:
        Tensor of the same shape, float32, without gradient.

    Example:
    >>> losses, draws = np.array([[3.0], [1.0], [2.0]]), np.array([[0.1], [0.2], [0.9]])
    >>> [float(kept) for kept in kept_teachers(losses, draws)[:, 0]]
    [1.0, 0.0, 1.0]

    Reference: Sariyildiz et al., 2024, UNIC, arXiv:2408.05088.
    """
    losses = ops.stop_gradient(ops.cast(losses, "float32"))
    worst = ops.one_hot(
        ops.argmax(losses, axis=0), losses.shape[0], axis=0, dtype="float32"
    )
    rate = ops.cast(drop_rate, "float32")
    drawn = ops.cast(ops.cast(draws, "float32") >= rate, "float32")
    return ops.maximum(worst, drawn)
