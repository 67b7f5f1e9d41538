"""Selection before arithmetic: what is left out sends nothing into a gradient.

Multiplied by 0, what is inf or not a number stays so; and a function that has no
gradient at 0 gives 0 · inf where only its value is replaced. So a value is taken out
before it is computed with, and once more after.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

# The squared norm below which a vector has no direction that float32 can tell.
_NO_DIRECTION = 1e-24


def apply_where(
    condition: Any,
    function: Callable[[Any], Any],
    x: Any,
    *,
    safe: float = 1.0,
    otherwise: Any = 0.0,
) -> Any:
    """Return `function(x)` where the condition holds, and `otherwise` elsewhere.

    Args:
        condition: Boolean tensor of the shape of `x`.
        function: A function that works elementwise.
        x: Tensor.
        safe: A number at which the function has a finite value and gradient.
        otherwise: Number or tensor of the shape of `x`.

    Returns:
        Tensor of the shape of `x`, whose gradient is 0 where the condition fails.

    Example:
    >>> x = keras.ops.array([0.0, 4.0])
    >>> [float(root) for root in apply_where(x > 0.0, keras.ops.sqrt, x)]
    [0.0, 2.0]
    """
    value = function(ops.where(condition, x, safe))
    return ops.where(condition, value, otherwise)


def weighted(weight: Any, values: Any) -> Any:
    """Return weight · values, and 0 where the weight is 0, whatever the value is.

    Args:
        weight: Number or tensor that broadcasts to `values`, without gradient.
        values: Tensor.

    Returns:
        Tensor of the shape of `values`.

    Example:
    >>> float(weighted(0.0, keras.ops.array(float("inf"))))
    0.0
    """
    counts = ops.not_equal(weight, 0.0)
    return ops.where(counts, weight * ops.where(counts, values, 0.0), 0.0)


def unit_vectors(x: Any, *, axis: int = -1) -> Any:
    """Return vectors at unit L2 norm; a vector of zeros stays what it is.

    Its gradient is that of a vector of norm 1: it has no direction yet, and finds one.

    Args:
        x: Tensor of any shape, float32.
        axis: The axis of the vectors.

    Returns:
        Tensor of the shape of `x`.

    Example:
    >>> vectors = keras.ops.array([[3.0, 4.0], [0.0, 0.0]])
    >>> [round(float(v), 4) for v in keras.ops.reshape(unit_vectors(vectors), (-1,))]
    [0.6, 0.8, 0.0, 0.0]
    """
    # Scaled to its maximum first: the squares of large values would overflow.
    largest = ops.stop_gradient(ops.max(ops.abs(x), axis=axis, keepdims=True))
    x = x / ops.where(largest > 1.0, largest, 1.0)
    size = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x / apply_where(size > _NO_DIRECTION, ops.sqrt, size, otherwise=1.0)


def kept_rows(included: Any, x: Any) -> Any:
    """Return float32 values, with zeros for what is left out, whatever it holds.

    Args:
        included: Tensor whose shape is the first axes of `x`, 0 for what is left out;
            or None for nothing.
        x: Tensor of shape `(batch, ...)`.

    Returns:
        Tensor of the shape of `x`, float32.

    Example:
    >>> x = np.array([[1.0, 2.0], [np.nan, np.inf]])
    >>> [float(v) for v in kept_rows(np.array([1.0, 0.0]), x)[1]]
    [0.0, 0.0]
    """
    x = ops.cast(x, "float32")
    if included is None:
        return x
    keep = ops.not_equal(included, ops.zeros_like(included))
    ones = (1,) * (len(x.shape) - len(keep.shape))
    return ops.where(ops.reshape(keep, (*ops.shape(keep), *ones)), x, 0.0)
