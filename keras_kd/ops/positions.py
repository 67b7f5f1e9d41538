"""Means over the positions of a feature, without those that are masked."""

from typing import Any

from keras import ops

from keras_kd.ops.selection import kept_rows


def mean_over_positions(features: Any, mask: Any = None) -> Any:
    """Return the mean of a feature over its positions.

    Args:
        features: Tensor of shape `(batch, ..., channels)`.
        mask: Boolean tensor of shape `(batch,)` or `(batch, ...)`, False for what is
            left out. None for all positions.

    Returns:
        Tensor of shape `(batch, channels)`, float32; 0 for an example without any
        position.

    Example:
    >>> features = np.array([[[1.0], [3.0], [8.0]]])
    >>> float(mean_over_positions(features, np.array([[True, True, False]]))[0, 0])
    2.0
    """
    features = ops.cast(ops.convert_to_tensor(features), "float32")
    axes = tuple(range(1, len(features.shape) - 1))
    if not axes:
        return features
    if mask is None:
        return ops.mean(features, axis=axes)
    # A mask of rows, too, counts each position of a row.
    count = ops.sum(kept_rows(mask, ops.ones_like(features[..., :1])), axis=axes)
    # Selected and not multiplied: padding may hold anything.
    total = ops.sum(kept_rows(mask, features), axis=axes)
    return total / ops.maximum(count, 1.0)


def both_masks(one: Any, other: Any) -> Any:
    """Return where both masks are True; None stands for a mask that is True."""
    if one is None or other is None:
        return other if one is None else one
    return ops.logical_and(ops.cast(one, "bool"), ops.cast(other, "bool"))
