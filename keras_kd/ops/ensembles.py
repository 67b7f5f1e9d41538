"""What several teachers say together."""

from typing import Any

from keras import ops

from keras_kd.ops.divergences import log_probabilities


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
    log_w = ops.log(ops.maximum(ops.cast(weights, "float32"), 1e-30))
    summed = ops.logsumexp(log_p + ops.expand_dims(log_w, -1), axis=0)
    return temperature * summed


def mean_of_logits(logits: Any, weights: Any) -> Any:
    """Return Σ_k w_k z_k.

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
    return ops.sum(weights * ops.cast(logits, "float32"), axis=0)


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
    return shares_of_the_small(-ops.sum(ops.where(p > 0.0, p * log_p, 0.0), axis=-1))


def confidence_weights(logits: Any, labels: Any) -> Any:
    """Return (1 − softmax_k(CE_k)) / (K − 1): less for a teacher that is wrong.

    CE_k is the cross-entropy of teacher k and the label.

    Args:
        logits: The logits of K ≥ 2 teachers, a tensor of shape
            `(teachers, ..., classes)`.
        labels: Integer tensor of shape `(...)`.

    Returns:
        Tensor of shape `(teachers, ...)`, float32, which sums to 1 over the teachers.

    Example:
    >>> logits = np.array([[[9.0, -9.0]], [[-9.0, 9.0]]])
    >>> [round(float(w), 3) for w in confidence_weights(logits, np.array([0]))[:, 0]]
    [1.0, 0.0]

    Reference: Zhang, Chen and Wang, 2022, CA-MKD, arXiv:2201.00007.
    """
    crossentropy = label_crossentropy(logits, labels)
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
    one_hot = ops.one_hot(ops.cast(labels, "int32"), log_p.shape[-1], dtype="bool")
    return -ops.sum(ops.where(one_hot, log_p, 0.0), axis=-1)


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
    one_hot = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1], dtype="bool")
    of_label = ops.sum(ops.where(one_hot, logits, 0.0), axis=-1, keepdims=True)
    return ops.min(logits - of_label, axis=0)


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
