"""Feature maps of another size."""

from typing import Any

from keras import ops


def adaptive_average_pool(features: Any, size: tuple[Any, Any]) -> Any:
    """Return feature maps averaged down to `size`.

    Output pixel i is the mean of the input pixels from floor(i·H / h) to
    ceil((i + 1)·H / h): the plain average pooling where h divides H. It is written
    as two small matrix products, which give the same numbers on every backend.

    Args:
        features: Tensor of shape `(batch, height, width, channels)`, whose height and
            width may be unknown while a step is traced.
        size: `(h, w)`, at most `(height, width)`: integers, or scalar integer tensors
            where they are unknown.

    Returns:
        Tensor of shape `(batch, h, w, channels)`.

    Raises:
        ValueError: If `size` is larger than the map.

    Example:
    >>> adaptive_average_pool(np.ones((1, 7, 6, 2), "float32"), (3, 3)).shape[1:3] == (
    ...     3,
    ...     3,
    ... )
    True
    """
    features = ops.convert_to_tensor(features)
    lengths = ops.shape(features)[1:3]
    for target, length in zip(size, lengths, strict=True):
        is_known = isinstance(target, int) and isinstance(length, int)
        if is_known and not 1 <= target <= length:
            raise ValueError(
                "`size` must be at least 1 and at most the size of the maps, "
                f"{tuple(features.shape[1:3])}. Received: size={tuple(size)}"
            )
    for axis, target, length in zip((1, 2), size, lengths, strict=True):
        features = _averaged(features, axis, length, target)
    return features


def nearest_neighbours(features: Any, size: tuple[Any, Any]) -> Any:
    """Return feature maps enlarged to `size`, each pixel that of the nearest centre.

    `keras.ops.image.resize` does not know a size that is unknown while it is traced.

    Args:
        features: Tensor of shape `(batch, height, width, channels)`.
        size: `(h, w)`, integers or scalar integer tensors.

    Returns:
        Tensor of shape `(batch, h, w, channels)`.

    Example:
    >>> features = np.array([[[[1.0], [2.0]]]])
    >>> [float(v) for v in nearest_neighbours(features, (1, 4))[0, 0, :, 0]]
    [1.0, 1.0, 2.0, 2.0]
    """
    features = ops.convert_to_tensor(features)
    lengths = ops.shape(features)[1:3]
    for axis, target, length in zip((1, 2), size, lengths, strict=True):
        places = ops.arange(target, dtype="int32")
        nearest = (2 * places + 1) * length // (2 * target)
        features = ops.take(features, nearest, axis=axis)
    return features


def smaller_length(one: Any, other: Any) -> Any:
    """Return the smaller of two lengths, of which a traced step may know none.

    Args:
        one: An integer, or a scalar integer tensor.
        other: The same.

    Example:
    >>> smaller_length(3, 5)
    3
    """
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    return ops.minimum(one, other)


def _averaged(features: Any, axis: int, length: Any, target: Any) -> Any:
    """Return features averaged down to `target` along one axis."""

    def average() -> Any:
        matrix = ops.cast(_averaging_matrix(length, target), features.dtype)
        equation = "bhwc,gh->bgwc" if axis == 1 else "bhwc,gw->bhgc"
        return ops.einsum(equation, features, matrix)

    if isinstance(length, int) and isinstance(target, int):
        return features if target == length else average()
    # Of a size that is unknown here, too, nothing is computed where it fits.
    return ops.cond(ops.equal(length, target), lambda: features, average)


def _averaging_matrix(length: Any, target: Any) -> Any:
    places = ops.expand_dims(ops.arange(target, dtype="int32"), 1)
    start = places * length // target
    stop = ((places + 1) * length + target - 1) // target
    column = ops.expand_dims(ops.arange(length, dtype="int32"), 0)
    inside = ops.logical_and(column >= start, column < stop)
    return ops.cast(inside, "float32") / ops.cast(stop - start, "float32")
