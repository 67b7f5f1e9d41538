"""What several teachers say together."""

import math
from typing import Any

from keras import ops

from keras_kd.ops.divergences import log_probabilities
from keras_kd.ops.target_classes import target_mask


def mean_of_probabilities(logits: Any, weights: Any, *, temperature: Any = 1.0) -> Any:
    """Return logits whose softmax at T is Σ_k w_k softmax(z_k / T).

    Args:
        logits: The teachers' logits z_k, a tensor of shape `(teachers, ..., classes)`.
        weights: Tensor of shape `(teachers, ...)` or one that broadcasts to it, which
            sums to 1 over the teachers.
        temperature: Positive number or scalar tensor T: that of the loss.

    Returns:
        Tensor of shape `(..., classes)`, float32.

    Example:
    >>> logits = np.log(np.array([[[0.2, 0.8]], [[0.6, 0.4]]]))
    >>> together = mean_of_probabilities(logits, np.array([[0.5], [0.5]]))
    >>> [round(float(p), 3) for p in keras.ops.softmax(together)[0]]
    [0.4, 0.6]
    """
    log_p = log_probabilities(logits, temperature=temperature)
    weights = ops.cast(weights, "float32")
    # Each logarithm of 0 is put in afterwards, where it sends no NaN into a gradient.
    counts = weights > 0.0
    log_w = ops.where(counts, ops.log(ops.where(counts, weights, 1.0)), -math.inf)
    terms = log_p + ops.expand_dims(log_w, -1)
    left_out = ops.all(ops.equal(terms, -math.inf), axis=0)
    summed = ops.logsumexp(ops.where(left_out, 0.0, terms), axis=0)
    return temperature * ops.where(left_out, -math.inf, summed)


def mean_of_logits(logits: Any, weights: Any) -> Any:
    """Return Σ_k w_k z_k.

    A class is left out where one teacher of a weight above 0 leaves it out.

    Args:
        logits: The teachers' logits z_k, a tensor of shape `(teachers, ..., classes)`.
        weights: Tensor of shape `(teachers, ...)` or one that broadcasts to it, which
            sums to 1 over the teachers.

    Returns:
        Tensor of shape `(..., classes)`, float32.

    Example:
    >>> logits = np.array([[[2.0, 0.0]], [[0.0, 4.0]]])
    >>> together = mean_of_logits(logits, np.array([[0.5], [0.5]]))
    >>> [float(z) for z in together[0]]
    [1.0, 2.0]
    """
    weights = ops.expand_dims(ops.cast(weights, "float32"), -1)
    logits = ops.cast(logits, "float32")
    # Multiplied, -inf would give NaN with a weight of 0 and in the weight's gradient.
    ruled_out = ops.equal(logits, -math.inf)
    mean = ops.sum(weights * ops.where(ruled_out, 0.0, logits), axis=0)
    left_out = ops.any(ops.logical_and(ruled_out, weights > 0.0), axis=0)
    return ops.where(left_out, -math.inf, mean)


def entropy_weights(logits: Any) -> Any:
    """Return (1 − H_k / Σ_j H_j) / (K − 1): less for a teacher that is unsure.

    H_k is the entropy of softmax(z_k); where no teacher is unsure, all weigh alike.

    Args:
        logits: The logits z_k of K ≥ 2 teachers, a tensor of shape
            `(teachers, ..., classes)`.

    Returns:
        Tensor of shape `(teachers, ...)`, float32, which sums to 1 over the teachers.

    Example:
    >>> logits = np.array([[[9.0, -9.0]], [[0.0, 0.0]]])
    >>> [round(float(w), 3) for w in entropy_weights(logits)[:, 0]]
    [1.0, 0.0]

    Reference: Kwon et al., 2020, adaptive knowledge distillation based on entropy.
    """
    log_p = log_probabilities(logits)
    p = ops.exp(log_p)
    entropies = -ops.sum(p * ops.where(p > 0.0, log_p, 0.0), axis=-1)
    return shares_of_the_small(entropies)


def confidence_weights(logits: Any, labels: Any) -> Any:
    """Return (1 − softmax_k(CE_k)) / (K − 1): less for a teacher that is wrong.

    CE_k is the cross-entropy of teacher k and the label. One teacher that leaves the
    label out, by a logit of -inf, has the weight 0; all teachers that do weigh alike.

    Args:
        logits: The logits of K ≥ 2 teachers, a tensor of shape
            `(teachers, ..., classes)`.
        labels: Integer tensor of shape `(...)`. Where it names no class, all teachers
            weigh alike.

    Returns:
        Tensor of shape `(teachers, ...)`, float32, which sums to 1 over the teachers.

    Example:
    >>> logits = np.array([[[9.0, -9.0]], [[-9.0, 9.0]]])
    >>> [round(float(w), 3) for w in confidence_weights(logits, np.array([0]))[:, 0]]
    [1.0, 0.0]

    Reference: Zhang, Chen and Wang, 2022, CA-MKD, arXiv:2201.00007.
    """
    # The limit of the formula: inf − inf would be NaN.
    crossentropy = ops.minimum(label_crossentropy(logits, labels), 1e30)
    return (1.0 - ops.softmax(crossentropy, axis=0)) / (logits.shape[0] - 1)


def label_crossentropy(logits: Any, labels: Any) -> Any:
    """Return −log softmax(z)[label].

    Args:
        logits: Tensor of shape `(..., classes)`.
        labels: Integer tensor whose shape broadcasts to `(...)`.

    Returns:
        Tensor of shape `(...)`, float32; 0 where the label names no class.

    Example:
    >>> round(float(label_crossentropy(np.zeros((1, 4)), np.array([2]))[0]), 3)
    1.386
    """
    log_p = log_probabilities(logits)
    is_label = target_mask(labels, log_p.shape[-1])
    return -ops.sum(ops.where(is_label, log_p, 0.0), axis=-1)


def best_logits(logits: Any, labels: Any) -> Any:
    """Return, of each example, the logits of the model with the lowest cross-entropy.

    Args:
        logits: The models' logits, a tensor of shape `(models, ..., classes)`.
        labels: Integer tensor of shape `(...)`.

    Returns:
        Tensor of shape `(..., classes)`, float32.

    Example:
    >>> logits = np.array([[[2.0, 0.0]], [[0.0, 4.0]]])
    >>> [float(z) for z in best_logits(logits, np.array([1]))[0]]
    [0.0, 4.0]

    Reference: Guo et al., 2020, KDCL-Naive, CVPR.
    """
    best = ops.argmin(label_crossentropy(logits, labels), axis=0)
    chosen = ops.moveaxis(ops.one_hot(best, logits.shape[0]), -1, 0)
    kept = ops.expand_dims(chosen, -1) > 0.0
    # Selected and not multiplied: a logit may be -inf.
    return ops.sum(ops.where(kept, ops.cast(logits, "float32"), 0.0), axis=0)


def lowest_margin_logits(logits: Any, labels: Any) -> Any:
    """Return min over the models of z − z[label], class by class.

    A model that leaves the label out, by a logit of -inf, has no margin and does not
    count; where all do, or the label names no class, this is min z.

    Args:
        logits: The models' logits, a tensor of shape `(models, ..., classes)`.
        labels: Integer tensor of shape `(...)`.

    Returns:
        Tensor of shape `(..., classes)`, float32.

    Example:
    >>> logits = np.array([[[2.0, 0.0]], [[5.0, 4.0]]])
    >>> [float(z) for z in lowest_margin_logits(logits, np.array([0]))[0]]
    [0.0, -2.0]

    Reference: Guo et al., 2020, KDCL-MinLogit, CVPR.
    """
    logits = ops.cast(logits, "float32")
    is_label = target_mask(labels, logits.shape[-1])
    of_label = ops.sum(ops.where(is_label, logits, 0.0), axis=-1, keepdims=True)
    ruled_out = ops.equal(of_label, -math.inf)
    margins = logits - ops.where(ruled_out, 0.0, of_label)
    none = ops.all(ruled_out, axis=0, keepdims=True)
    counts = ops.logical_or(ops.logical_not(ruled_out), none)
    return ops.min(ops.where(counts, margins, math.inf), axis=0)


def shares_of_the_small(values: Any) -> Any:
    """Return (1 − v_k / Σ_j v_j) / (K − 1), equal where all are 0.

    Args:
        values: Tensor of shape `(teachers, ...)`, at least 0, of K ≥ 2 teachers.
    """
    count = values.shape[0]
    total = ops.sum(values, axis=0, keepdims=True)
    share = ops.where(
        total > 0.0, values / ops.where(total > 0.0, total, 1.0), 1.0 / count
    )
    return (1.0 - share) / (count - 1)
