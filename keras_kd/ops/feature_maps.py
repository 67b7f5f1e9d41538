"""Comparisons of feature maps as wholes, channel by channel."""

from typing import Any

from keras import ops

from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.resize import adaptive_average_pool, smaller_length
from keras_kd.ops.selection import apply_where, kept_rows, unit_vectors


def _by_channel(features: Any) -> Any:
    """Return `(batch, channels, positions)` in float32."""
    features = ops.cast(features, "float32")
    batch, width = ops.shape(features)[0], features.shape[-1]
    return ops.transpose(ops.reshape(features, (batch, -1, width)), (0, 2, 1))


def channel_wise_kl_divergence(
    teacher: Any, student: Any, *, temperature: Any = 1.0
) -> Any:
    """Return the mean over the channels of T² KL(p ‖ q) over the positions.

    p = softmax(t / T) and q = softmax(s / T) over the positions of one channel.

    Args:
        teacher: Tensor of shape `(batch, ..., channels)`.
        student: Tensor of the same shape.
        temperature: Positive number or scalar tensor T.

    Returns:
        Tensor of shape `(batch,)`, float32, at least 0.

    Example:
    >>> features = np.ones((2, 4, 4, 3))
    >>> float(channel_wise_kl_divergence(features, features)[0])
    0.0

    Reference: Shu et al., 2021, arXiv:2011.13256.
    """
    each = kl_divergence(
        _by_channel(teacher), _by_channel(student), temperature=temperature
    )
    return ops.mean(each, axis=1)


def neuron_selectivity_distance(teacher: Any, student: Any) -> Any:
    """Return the squared maximum mean discrepancy between the channels of two maps.

    mean k(t, t') + mean k(s, s') − 2 mean k(t, s) over the channels, each at unit L2
    norm over the positions, with the kernel k(a, b) = (a · b)².

    Args:
        teacher: Tensor of shape `(batch, ..., channels)`.
        student: Tensor of the same shape but for the channels.

    Returns:
        Tensor of shape `(batch,)`, float32, at least 0.

    Example:
    >>> features = np.ones((2, 4, 4, 3))
    >>> abs(round(float(neuron_selectivity_distance(features, features)[0]), 6))
    0.0

    Reference: Huang and Wang, 2017, arXiv:1707.01219.
    """
    t, s = (unit_vectors(_by_channel(features)) for features in (teacher, student))

    def kernel(a: Any, b: Any) -> Any:
        inner = ops.matmul(a, ops.transpose(b, (0, 2, 1)))
        return ops.mean(ops.square(inner), axis=(1, 2))

    return kernel(t, t) + kernel(s, s) - 2.0 * kernel(t, s)


def standardized_channels(features: Any, *, included: Any) -> Any:
    """Return features with mean 0 and standard deviation 1 in each channel.

    The statistics run over the batch and the positions; the deviation is unbiased. A
    channel without any spread becomes 0.

    Args:
        features: Tensor of shape `(batch, ..., channels)`.
        included: Tensor of shape `(batch,)` or `(batch, ...)`, 0 for an example or a
            position that is left out of the statistics.

    Returns:
        Tensor of the shape of `features`, float32; 0 for what is left out.

    Example:
    >>> x = np.array([[1.0], [3.0]])
    >>> standardized = standardized_channels(x, included=np.ones(2))
    >>> [round(float(v), 4) for v in standardized[:, 0]]
    [-0.7071, 0.7071]
    """
    x = kept_rows(included, features)
    axes = tuple(range(len(x.shape) - 1))
    count = ops.sum(kept_rows(included, ops.ones_like(x[..., :1])))
    mean = ops.sum(x, axis=axes, keepdims=True) / ops.maximum(count, 1.0)
    centred = kept_rows(included, x - mean)
    # Once more: rounding of the mean would be the whole spread of a constant channel.
    rest = ops.sum(centred, axis=axes, keepdims=True) / ops.maximum(count, 1.0)
    centred = kept_rows(included, centred - rest)
    squares = ops.sum(ops.square(centred), axis=axes, keepdims=True)
    variance = squares / ops.maximum(count - 1.0, 1.0)
    # Rounding leaves a constant channel a spread that means nothing.
    noise = 1e-12 * ops.square(ops.stop_gradient(mean))
    spread = variance > noise
    scale = apply_where(spread, ops.sqrt, variance, otherwise=1.0)
    return ops.where(spread, centred / scale, 0.0)


def partial_squared_distance(teacher: Any, student: Any, *, margin: Any) -> Any:
    """Return Σ (s − t')² where not s ≤ t' ≤ 0, with t' = max(t, margin).

    Args:
        teacher: Tensor of shape `(batch, ..., channels)`.
        student: Tensor of the same shape.
        margin: Tensor of shape `(channels,)`, at most 0.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> t, s = np.array([[-5.0, -1.0, 2.0]]), np.array([[-3.0, 1.0, 2.0]])
    >>> float(partial_squared_distance(t, s, margin=np.array([-1.0] * 3))[0])
    4.0
    """
    t = ops.maximum(ops.cast(teacher, "float32"), ops.cast(margin, "float32"))
    s = ops.cast(student, "float32")
    counts = ops.logical_or(s > t, t > 0.0)
    axes = tuple(range(1, len(s.shape)))
    return ops.sum(ops.where(counts, ops.square(s - t), 0.0), axis=axes)


def hierarchical_context_distance(teacher: Any, student: Any) -> Any:
    """Return the squared difference of two maps, averaged over several resolutions.

    Args:
        teacher: Tensor of shape `(batch, height, width, channels)`.
        student: Tensor of the same shape.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> x = np.ones((2, 8, 8, 3), "float32")
    >>> float(hierarchical_context_distance(x, 0 * x)[0])
    1.0
    """
    gap = ops.cast(student, "float32") - ops.cast(teacher, "float32")
    shortest = smaller_length(*ops.shape(gap)[1:3])
    weight, weights = ops.ones(()), ops.ones(())
    value = ops.mean(ops.square(gap), axis=(1, 2, 3))
    for size in (4, 2, 1):
        # Of an unknown size only the numbers tell whether this pooling counts.
        if isinstance(shortest, int) and size >= shortest:
            continue
        counts = size < shortest
        length = smaller_length(size, shortest)
        pooled = adaptive_average_pool(gap, (length, length))
        weight = ops.where(counts, weight / 2.0, weight)
        share = ops.where(counts, weight, 0.0)
        value += share * ops.mean(ops.square(pooled), axis=(1, 2, 3))
        weights += share
    return value / weights
