"""Relations between the tokens of a sequence, in an attention layer's own terms."""

from typing import Any

from keras import ops

from keras_kd.ops.selection import kept_rows

# Far below any score of float16 vectors, and still a number: −∞ − (−∞) is none.
_LEFT_OUT = -1e30


def attention_relation_kl_divergence(
    teacher_vectors: Any, student_vectors: Any, *, heads: int, mask: Any = None
) -> Any:
    """Return the mean over heads and tokens of KL(R(t) ‖ R(s)).

    R(v) = softmax(v vᵀ / √d) over the tokens, for each of `heads` parts v of d channels
    into which the vectors are cut. The two widths may differ.

    Args:
        teacher_vectors: Tensor of shape `(batch, tokens, teacher's width)`.
        student_vectors: Tensor of shape `(batch, tokens, student's width)`.
        heads: Number of relation heads; must divide both widths.
        mask: Boolean tensor of shape `(batch, tokens)`, False for padding, or None.

    Returns:
        Tensor of shape `(batch,)`, float32, at least 0; 0 where all is padding.

    Example:
    >>> vectors = np.ones((1, 3, 8))
    >>> float(attention_relation_kl_divergence(vectors, vectors[..., :4], heads=2)[0])
    0.0

    Reference: Wang et al., 2021, MiniLMv2, arXiv:2012.15828.
    """
    log_p = _log_relations(teacher_vectors, heads, mask)
    log_q = _log_relations(student_vectors, heads, mask)
    each = ops.mean(ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1), axis=1)
    if mask is None:
        return ops.mean(each, axis=-1)
    count = ops.sum(ops.cast(ops.cast(mask, "bool"), "float32"), axis=-1)
    return ops.divide_no_nan(ops.sum(kept_rows(mask, each), axis=-1), count)


def _log_relations(vectors: Any, heads: int, mask: Any) -> Any:
    vectors = kept_rows(mask, vectors)
    batch, tokens = ops.shape(vectors)[:2]
    size = vectors.shape[-1] // heads
    vectors = ops.reshape(vectors, (batch, tokens, heads, size))
    scores = ops.einsum("bihd,bjhd->bhij", vectors, vectors) / size**0.5
    if mask is not None:
        keys = ops.cast(mask, "bool")[:, None, None, :]
        scores = ops.where(keys, scores, _LEFT_OUT)
    return ops.log_softmax(scores, axis=-1)
