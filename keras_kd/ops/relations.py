"""How the examples of a batch relate to each other, as a matrix per side.

All functions take embeddings of shape `(batch, width)` whose widths may differ, compute
in float32, and return one value per example whose mean over the batch is the paper's.
`included` holds 0 for an example that takes no part in any relation, as after a weight
of 0: what is left is the value of the smaller batch. One example has no relations: 0.
"""

import math
from typing import Any

from keras import ops

from keras_kd.ops.selection import apply_where, kept_rows, unit_vectors


def _pairs(included: Any) -> Any:
    """Return 1 for each pair of included examples."""
    return ops.expand_dims(included, 0) * ops.expand_dims(included, 1)


def _per_example(values: Any, included: Any) -> Any:
    """Return Σ over the examples related to an example, over the number of examples."""
    return ops.divide_no_nan(
        ops.sum(values * _pairs(included), axis=1), ops.sum(included)
    )


def _gram(x: Any) -> Any:
    return ops.matmul(x, ops.transpose(x))


def similarity_distance(teacher: Any, student: Any, *, included: Any) -> Any:
    """Return the squared difference of the similarities, Σ_j (G_t − G_s)²_ij / B.

    G is F Fᵀ with rows of unit L2 norm.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of shape `(batch, any width)`.
        included: Tensor of shape `(batch,)` of 1 and 0.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
    >>> float(similarity_distance(x, 2 * x, included=np.ones(2, "float32"))[0])
    0.0

    Reference: Tung and Mori, 2019, arXiv:1907.09682.
    """
    grams = [unit_vectors(_gram(kept_rows(included, x))) for x in (teacher, student)]
    return _per_example(ops.square(grams[0] - grams[1]), included)


def _distances(x: Any, included: Any) -> tuple[Any, Any]:
    """Return inner products of the centred rows, and their pairwise distances."""
    count = ops.maximum(ops.sum(included), 1.0)
    x = kept_rows(included, x)
    # Without their mean the products are small, and so is what cancels in them.
    x = kept_rows(included, x - ops.sum(x, axis=0, keepdims=True) / count)
    gram = _gram(x)
    sizes = ops.diagonal(gram)
    total = ops.expand_dims(sizes, 0) + ops.expand_dims(sizes, 1)
    squares = total - 2.0 * gram
    # What rounding leaves of equal rows is no distance, and a root of 0 no gradient.
    apart = squares > 1e-6 * ops.stop_gradient(total)
    distances = apply_where(apart, ops.sqrt, squares)
    return gram, distances * _pairs(included)


def _huber(gap: Any) -> Any:
    size = ops.abs(gap)
    return ops.where(size < 1.0, 0.5 * ops.square(gap), size - 0.5)


def relational_distance(teacher: Any, student: Any, *, included: Any) -> Any:
    """Return the Huber loss of the pairwise distances, each over its mean.

    The mean runs over the pairs that lie apart, the loss over all B² pairs.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of shape `(batch, any width)`.
        included: Tensor of shape `(batch,)` of 1 and 0.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
    >>> float(relational_distance(x, 2 * x, included=np.ones(2, "float32"))[0])
    0.0

    Reference: Park et al., 2019, RKD-D, arXiv:1904.05068.
    """
    scaled = []
    for x in (teacher, student):
        _, distances = _distances(x, included)
        apart = ops.sum(ops.cast(distances > 0.0, "float32"))
        mean = ops.divide_no_nan(ops.sum(distances), apart)
        scaled.append(ops.divide_no_nan(distances, mean))
    return _per_example(_huber(scaled[0] - scaled[1]), included)


def relational_angle(teacher: Any, student: Any, *, included: Any) -> Any:
    """Return the Huber loss of the cosines of the angles within all triplets.

    For an example i, over all pairs j, k: the angle at i between j and k. Takes memory
    and time of B³, none of it times the width.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of shape `(batch, any width)`.
        included: Tensor of shape `(batch,)` of 1 and 0.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "float32")
    >>> distances = relational_angle(x, 2 * x, included=np.ones(3, "float32"))
    >>> round(abs(float(distances[0])), 6)  # angles know no scale
    0.0

    Reference: Park et al., 2019, RKD-A, arXiv:1904.05068.
    """
    cosines = []
    for x in (teacher, student):
        gram, distances = _distances(x, included)
        own = ops.diagonal(gram)[:, None, None]
        # (x_j − x_i) · (x_k − x_i) for each i, without forming the differences.
        products = gram[None] - gram[:, :, None] - gram[:, None, :] + own
        sizes = distances[:, :, None] * distances[:, None, :]
        cosines.append(ops.divide_no_nan(products, sizes))
    triplets = _pairs(included)[None] * ops.reshape(included, (-1, 1, 1))
    total = ops.sum(_huber(cosines[0] - cosines[1]) * triplets, axis=(1, 2))
    return ops.divide_no_nan(total, ops.square(ops.sum(included)))


def probabilistic_divergence(
    teacher: Any, student: Any, *, included: Any, epsilon: float = 1e-7
) -> Any:
    """Return Σ_j p_ij log((p_ij + ε) / (q_ij + ε)) / B of cosine neighbourhoods.

    p_ij is the teacher's (1 + cos(i, j)) / 2 over its sum over j; q the student's.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of shape `(batch, any width)`.
        included: Tensor of shape `(batch,)` of 1 and 0.
        epsilon: Positive number ε.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
    >>> float(probabilistic_divergence(x, 2 * x, included=np.ones(2, "float32"))[0])
    0.0

    Reference: Passalis and Tefas, 2018, PKT, arXiv:1803.10837.
    """
    logs, p = [], None
    for x in (teacher, student):
        cosine = _gram(unit_vectors(kept_rows(included, x)))
        # Rounding takes the cosine of opposite vectors below −1.
        near = ops.maximum(0.5 * (cosine + 1.0), 0.0) * _pairs(included)
        shares = ops.divide_no_nan(near, ops.sum(near, axis=1, keepdims=True))
        p = shares if p is None else p
        logs.append(ops.log(shares + epsilon))
    return _per_example(p * (logs[0] - logs[1]), included)


def correlation_congruence(
    teacher: Any, student: Any, *, included: Any, gamma: float = 0.4, order: int = 2
) -> Any:
    """Return Σ_j (K_t − K_s)²_ij / B of Gaussian kernels between unit vectors.

    K is their Taylor series, e^(−2γ) Σ_{p ≤ order} (2γ)^p / p! · cos^p.

    Args:
        teacher: Tensor of shape `(batch, width)`.
        student: Tensor of shape `(batch, any width)`.
        included: Tensor of shape `(batch,)` of 1 and 0.
        gamma: Positive number γ.
        order: Highest power of the series.

    Returns:
        Tensor of shape `(batch,)`, float32.

    Example:
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]], "float32")
    >>> float(correlation_congruence(x, 2 * x, included=np.ones(2, "float32"))[0])
    0.0

    Reference: Peng et al., 2019, arXiv:1904.01802.
    """
    kernels = []
    for x in (teacher, student):
        cosine = _gram(unit_vectors(kept_rows(included, x)))
        # By Horner's rule: TensorFlow has no gradient of 0⁰.
        series = ops.ones_like(cosine)
        for power in range(order, 0, -1):
            series = 1.0 + 2.0 * gamma / power * cosine * series
        kernels.append(math.exp(-2.0 * gamma) * series)
    return _per_example(ops.square(kernels[0] - kernels[1]), included)
