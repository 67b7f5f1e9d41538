"""Noise-contrastive estimation against stored embeddings."""

from typing import Any

from keras import ops

from keras_kd.ops.selection import apply_where, kept_rows


def contrastive_loss(
    embeddings: Any,
    positives: Any,
    negatives: Any,
    *,
    temperature: float,
    normalizer: Any,
    num_examples: int,
    included: Any = None,
) -> tuple[Any, Any]:
    """Return the loss of telling each example's own entry from K others, and its Z.

    With scores x = exp(v · m / τ) / Z and noise K / N: −log(x₊ / (x₊ + K / N)) −
    Σ log((K / N) / (x₋ + K / N)).

    Args:
        embeddings: Unit vectors v of shape `(batch, size)`.
        positives: Stored vectors m of the same examples, of the same shape.
        negatives: Stored vectors of K other examples, of shape `(K, size)`, shared by
            the batch.
        temperature: Positive number τ.
        normalizer: Scalar Z; where 0, the mean score of this batch times N.
        num_examples: The number N of stored examples.
        included: Tensor of shape `(batch,)`, 0 for an example that is left out of the
            mean score; or None.

    Returns:
        Tensor of shape `(batch,)`, float32, and the Z that was used; 0 where there was
        none and no example is included.

    Example:
    >>> v = np.array([[1.0, 0.0]])
    >>> loss, z = contrastive_loss(
    ...     v, v, -v, temperature=1.0, normalizer=1.0, num_examples=2
    ... )
    >>> round(float(loss[0]), 3)
    0.72

    Reference: Tian et al., 2020, CRD, arXiv:1910.10699.
    """
    embeddings, positives = (kept_rows(included, x) for x in (embeddings, positives))
    negatives = ops.cast(negatives, "float32")
    own = ops.sum(embeddings * positives, axis=-1, keepdims=True)
    others = ops.matmul(embeddings, ops.transpose(negatives))
    scaled = ops.concatenate([own, others], axis=-1) / temperature
    scores = ops.mean(ops.exp(ops.stop_gradient(scaled)), axis=-1)
    count = ops.sum(kept_rows(included, ops.ones_like(scores)))
    mean = ops.divide_no_nan(ops.sum(kept_rows(included, scores)), count)
    normalizer = ops.where(normalizer > 0.0, normalizer, mean * num_examples)
    log_scores = scaled - apply_where(normalizer > 0.0, ops.log, normalizer)
    noise = ops.log(ops.cast(negatives.shape[0] / num_examples, "float32"))
    # log(x / (x + c)) and log(c / (x + c)), by the logarithm of the sigmoid.
    hit = -ops.log_sigmoid(log_scores[:, 0] - noise)
    missed = -ops.sum(ops.log_sigmoid(noise - log_scores[:, 1:]), axis=-1)
    return hit + missed, normalizer
