"""Examples of one batch that learn from each other."""

from typing import Any

from keras import ops

from keras_kd.ops.divergences import kl_divergence
from keras_kd.ops.selection import kept_rows


def pair_indices(keys: Any, included: Any = None) -> tuple[Any, Any]:
    """Return, for each example, the next one in the batch with the same key.

    After the last example comes the first. An example that is left out, or whose key
    is below 0, has no pair and is none.

    Args:
        keys: Integer tensor of shape `(batch,)`.
        included: Tensor of shape `(batch,)`, 0 for an example that is left out. None
            for all.

    Returns:
        Two tensors of shape `(batch,)`: the index of the example that each one is
        paired with, its own where there is none; and whether there is one.

    Example:
    >>> index, has_pair = pair_indices(np.array([7, 5, 7, 7]))
    >>> [int(i) for i in index], [bool(has) for has in has_pair]
    ([2, 1, 3, 0], [True, False, True, True])
    """
    keys = ops.cast(keys, "int32")
    count = ops.shape(keys)[0]
    # Counted by a sum: the size of the batch may be unknown when the step is traced.
    own = ops.cumsum(ops.ones_like(keys)) - 1
    can = keys >= 0
    if included is not None:
        can = ops.logical_and(can, ops.not_equal(included, 0))
    ahead = ops.mod(ops.expand_dims(own, 0) - ops.expand_dims(own, 1), count)
    match = ops.equal(ops.expand_dims(keys, 0), ops.expand_dims(keys, 1))
    match = ops.logical_and(match, ops.expand_dims(can, 0))
    match = ops.logical_and(match, ops.expand_dims(can, 1))
    match = ops.logical_and(match, ahead > 0)
    has_pair = ops.any(match, axis=1)
    nearest = ops.argmin(ops.where(match, ahead, count), axis=1)
    return ops.where(has_pair, ops.cast(nearest, "int32"), own), has_pair


def pair_kl_divergence(
    logits: Any,
    index: Any,
    has_pair: Any,
    *,
    temperature: Any = 1.0,
    stop_gradient: bool = True,
) -> Any:
    """Return T² · KL(p_j ‖ p_i) of each example i and its pair j; 0 without one.

    With p = softmax(logits / T). Its gradient with respect to the example's own logits
    is T (p_i − p_j); with respect to the pair's it is 0, or without
    `stop_gradient` T · p_j (d − Σ p_j d), d = log p_j − log p_i.

    Args:
        logits: Tensor of shape `(batch, ..., classes)`.
        index: Integer tensor of shape `(batch,)`: the index of each one's pair.
        has_pair: Boolean tensor of shape `(batch,)`.
        temperature: Positive number or scalar tensor T.
        stop_gradient: Whether the pair is a fixed target.

    Returns:
        Tensor of shape `(batch, ...)`, float32, at least 0.

    Example:
    >>> logits = np.array([[1.0, 2.0], [1.0, 2.0]])
    >>> value = pair_kl_divergence(logits, *pair_indices(np.array([4, 4])))
    >>> [float(v) for v in value]
    [0.0, 0.0]

    Reference: Yun et al., 2020, CS-KD, arXiv:2003.13964.
    """
    # Whoever is a pair has one: all others may hold anything.
    logits = kept_rows(has_pair, logits)
    targets = ops.stop_gradient(logits) if stop_gradient else logits
    targets = ops.take(targets, index, axis=0)
    value = kl_divergence(targets, logits, temperature=temperature)
    return where_example(has_pair, value, 0.0)


def where_example(condition: Any, values: Any, otherwise: Any) -> Any:
    """Return `values` of the examples where the condition holds, else the other."""
    ones = (1,) * (len(values.shape) - 1)
    return ops.where(ops.reshape(condition, (-1, *ones)), values, otherwise)
