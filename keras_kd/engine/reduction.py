"""From values per example to one number: weights, masks and the average, once."""

from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.losses.base import DistillationLoss, requests_in
from keras_kd.losses.context import StepContext
from keras_kd.signals.output import select_output


def reduce_loss(loss: DistillationLoss, values: Any, context: StepContext) -> Any:
    """Return Σ w·values / Σ w, summed over the outputs that the loss compares.

    The weight w of an example or token is its sample weight times the Keras masks of
    its two signals. The sums run over all replicas; the result is this replica's
    share of it, as Keras wants it.

    Args:
        loss: The loss that gave the values.
        values: A tensor whose first axis is the batch, a scalar, or a list or dict of
            these, with None for an output that is skipped.
        context: The step, with the weights of the output that the loss reads.

    Returns:
        Scalar tensor, float32.

    Raises:
        ValueError: The weights do not fit the values.
    """
    flat_values = keras.tree.flatten(values)
    count = len(flat_values)
    weights = _for_each(context.sample_weight, count, "sample_weight", loss)
    teacher_masks = _for_each(context.teacher_mask, count, "teacher_mask", loss)
    student_masks = _for_each(context.student_mask, count, "student_mask", loss)
    total = ops.zeros(())
    for value, weight, *masks in zip(
        flat_values, weights, teacher_masks, student_masks, strict=True
    ):
        if value is not None:
            total += weighted_mean(value, weight, masks, loss_name=loss.name)
    return total


def weighted_mean(
    values: Any, weight: Any, masks: list[Any], *, loss_name: str = "the loss"
) -> Any:
    """Return Σ w·values / Σ w over all replicas, this replica's share.

    Args:
        values: Tensor of shape `(batch, ...)`, or a scalar.
        weight: Tensor of shape `(batch,)` or `(batch, ...)`, or None.
        masks: Boolean tensors of such shapes, or None.
        loss_name: The name for messages.

    Returns:
        Scalar tensor, float32; 0 where all weights are 0.

    Raises:
        ValueError: A weight has another batch size or length than the values.
    """
    values = ops.cast(values, "float32")
    weights = ops.ones_like(values)
    if weight is not None:
        weights *= _fitted(ops.cast(weight, "float32"), values, ops.mean, loss_name)
    for mask in masks:
        if mask is not None:
            weights *= _fitted(ops.cast(mask, "float32"), values, ops.max, loss_name)
    # A padded position may hold anything, even what is not a number.
    values = ops.where(weights == 0.0, 0.0, values)
    total_weight = _backend.sum_over_replicas(ops.sum(weights))
    return ops.divide_no_nan(ops.sum(weights * values), total_weight)


def _fitted(weight: Any, values: Any, squeeze: Any, loss_name: str) -> Any:
    """Return `weight` in a shape that broadcasts against the values."""
    rank, wanted = len(weight.shape), len(values.shape)
    if wanted == 0:
        return ops.ones(())  # a scalar is averaged already; no weight can reach it
    if rank > wanted:
        # Weights of tokens, a loss of whole examples.
        weight = squeeze(weight, axis=tuple(range(wanted, rank)))
    elif rank < wanted:
        weight = ops.reshape(weight, (*ops.shape(weight), *(1,) * (wanted - rank)))
    pairs = zip(weight.shape, values.shape, strict=True)
    if any(w not in (v, 1) for w, v in pairs if w is not None and v is not None):
        raise ValueError(
            f"The weights and masks of {loss_name} must have its batch size and "
            f"length. Received: a weight of shape {tuple(weight.shape)} for values of "
            f"shape {tuple(values.shape)}."
        )
    return weight


def selected_weights(loss: DistillationLoss, sample_weight: Any, student: Any) -> Any:
    """Return the weights of the output that a loss reads, where each has its own.

    Args:
        loss: The loss.
        sample_weight: The batch's weights: a tensor, None, or one entry per output.
        student: The student, which knows the names of its outputs.

    Returns:
        The entry of that output; all of them for a loss that reads several or none.

    Raises:
        ValueError: The output that the loss reads has no entry.
    """
    if not isinstance(sample_weight, (dict, list, tuple)):
        return sample_weight
    signals = requests_in(loss.student_signals())
    keys = {key for signal in signals for key in signal.reads_outputs}
    if len(keys) != 1:
        return sample_weight
    return select_output(student, sample_weight, keys.pop(), "sample weights")


def _for_each(tree: Any, count: int, what: str, loss: DistillationLoss) -> list[Any]:
    """List one entry of `tree` for each of `count` values; a single one serves all."""
    flat = keras.tree.flatten(tree)
    if len(flat) == count:
        return flat
    if what == "sample_weight" and len(flat) > 1 and any(w is not None for w in flat):
        raise ValueError(
            f"`sample_weight` must be one tensor for {loss.name}, which does not "
            "compare the outputs one by one. Received: weights for "
            f"{len(flat)} outputs. Give one weight per example, or name the output by "
            "`output=`."
        )
    given = [entry for entry in flat if entry is not None]
    return [given[0] if given and count else None] * count
