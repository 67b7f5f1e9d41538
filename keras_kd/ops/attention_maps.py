"""Where in an image a network looks."""

from typing import Any

from keras import ops

from keras_kd.ops.selection import apply_where


def spatial_attention(features: Any, *, power: float = 2.0) -> Any:
    """Return the mean over the channels of |features|^power, with unit L2 norm.

    Args:
        features: Tensor of shape `(batch, height, width, channels)`.
        power: Positive exponent; higher values weigh the strongest channel more.

    Returns:
        Tensor of shape `(batch, height · width)`, float32; each row has norm 1, or 0
        where all features are 0.

    Example:
    >>> spatial_attention(np.ones((2, 3, 3, 4))).shape[1]
    9

    Reference: Zagoruyko and Komodakis, 2017, arXiv:1612.03928.
    """
    features = ops.cast(features, "float32")
    if power == 2.0:
        energy = ops.mean(ops.square(features), axis=-1)
    else:
        # Below a power of 1 the slope at 0 is infinite.
        size = ops.abs(features)
        raised = apply_where(size > 0.0, lambda x: ops.power(x, power), size)
        energy = ops.mean(raised, axis=-1)
    flat = ops.reshape(energy, (ops.shape(features)[0], -1))
    # Scaled to its maximum first: the squares of large maps would overflow.
    largest = ops.max(ops.abs(flat), axis=-1, keepdims=True)
    scaled = flat / ops.maximum(ops.stop_gradient(largest), 1e-30)
    norm = ops.sqrt(ops.maximum(ops.sum(ops.square(scaled), -1, keepdims=True), 1e-12))
    return scaled / norm
