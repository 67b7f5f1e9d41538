"""Adaptive average pooling of feature maps."""

from typing import Any

import numpy as np
from keras import ops


def adaptive_average_pool(features: Any, size: tuple[int, int]) -> Any:
    """Return feature maps averaged down to `size`.

    Output pixel i is the mean of the input pixels from floor(i·H / h) to
    ceil((i + 1)·H / h): the plain average pooling where h divides H. It is written
    as two small matrix products, which give the same numbers on every backend.

    Args:
        features: Tensor of shape `(batch, height, width, channels)`.
        size: `(h, w)`, at most `(height, width)`.

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
    height, width = features.shape[1], features.shape[2]
    if not (1 <= size[0] <= height and 1 <= size[1] <= width):
        raise ValueError(
            "`size` must be at least 1 and at most the size of the maps, "
            f"{(height, width)}. Received: size={tuple(size)}"
        )
    if size[0] != height:
        rows = ops.cast(_averaging_matrix(height, size[0]), features.dtype)
        features = ops.einsum("bhwc,gh->bgwc", features, rows)
    if size[1] != width:
        columns = ops.cast(_averaging_matrix(width, size[1]), features.dtype)
        features = ops.einsum("bhwc,gw->bhgc", features, columns)
    return features


def _averaging_matrix(length: int, target: int) -> Any:
    matrix = np.zeros((target, length), "float32")
    for index in range(target):
        start = index * length // target
        stop = -(-(index + 1) * length // target)
        matrix[index, start:stop] = 1.0 / (stop - start)
    return ops.convert_to_tensor(matrix)
