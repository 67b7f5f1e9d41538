"""From values per example to one number: what counts, weights and the mean, once.

What is left out (weight 0, masked, padded, a class that the task ignores, a value that
the loss calls not valid) is left out before any arithmetic: whatever stands there,
NaN included, changes neither value nor gradient.
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.losses.base import DistillationLoss, requests_in
from keras_kd.losses.context import StepContext
from keras_kd.losses.values import values_and_valid
from keras_kd.signals.output import select_output


@dataclass
class Reads:
    """What a loss's `call` is given in one step.

    Attributes:
        teacher: The teacher's signals; zeros stand where nothing counts.
        student: The student's, likewise.
        context: The batch, the moment, and what counts.
    """

    teacher: Any
    student: Any
    context: StepContext


def reads_of(
    loss: DistillationLoss,
    teacher: Any,
    student: Any,
    step: Any,
    batch: tuple[Any, Any, Any],
) -> Reads:
    """Return what a loss reads: its signals, with what does not count taken out.

    Args:
        loss: The loss.
        teacher: The teacher's signals.
        student: The student's signals.
        step: The step.
        batch: x, y and sample_weight.
    """
    x, y, sample_weight = batch
    of_examples = (
        _of_examples(teacher, loss.teacher_signals()),
        _of_examples(student, loss.student_signals()),
    )
    context = StepContext(
        x=x,
        y=y,
        sample_weight=selected_weights(loss, sample_weight, step.owner.student),
        training=step.training,
        step=step.number,
        sample_ids=step.sample_ids,
        teacher_mask=_masks(teacher, of_examples[0], step.padding.get("teacher")),
        student_mask=_masks(student, of_examples[1], step.padding.get("student")),
        values=step.values,
    )
    masks = context.teacher_mask, context.student_mask
    # Of both sides: what one side masks has no partner on the other.
    return Reads(
        _selected(teacher, of_examples[0], context.sample_weight, *masks),
        _selected(student, of_examples[1], context.sample_weight, *masks),
        context,
    )


def _of_examples(signals: Any, requests: Any) -> Any:
    """Say of each signal whether its first axis is the batch."""
    if signals is None:
        return None

    def say(request: Any, value: Any) -> Any:
        per_example = request is not None and request.per_example
        return keras.tree.map_structure(lambda _: per_example, value)

    return keras.tree.map_structure_up_to(requests, say, requests, signals)


def _selected(signals: Any, of_examples: Any, *given: Any) -> Any:
    flat = keras.tree.flatten(signals)
    columns = [_for_each_signal(tree, len(flat)) for tree in given]
    if all(entry is None for column in columns for entry in column):
        return signals
    selected = [
        select(signal, list(entries)) if counts else signal
        for signal, counts, *entries in zip(
            flat, keras.tree.flatten(of_examples), *columns, strict=True
        )
    ]
    return keras.tree.pack_sequence_as(signals, selected)


def reduce_loss(loss: DistillationLoss, given: Any, context: StepContext) -> Any:
    """Return Σ w·values / Σ w, summed over the outputs that the loss compares.

    The weight w of an example or token is its sample weight times the masks of its two
    signals. The sums run over all replicas; the result is this replica's share of it,
    as Keras wants it.

    Args:
        loss: The loss that gave the values.
        given: A tensor whose first axis is the batch, a scalar, a list or dict of
            these with None for an output that is skipped, or a tuple of that and of
            which are valid.
        context: The step, with the weights of the output that the loss reads.

    Returns:
        Scalar tensor, float32.

    Raises:
        ValueError: If the weights do not fit the values.
    """
    flat, valid = values_and_valid(given)
    count = len(flat)
    weights = _for_each(context.sample_weight, count, "sample_weight", loss)
    teacher = _for_each(context.teacher_mask, count, "teacher_mask", loss)
    student = _for_each(context.student_mask, count, "student_mask", loss)
    total = ops.zeros(())
    columns = (flat, weights, valid, teacher, student)
    for value, weight, *masks in zip(*columns, strict=True):
        if value is not None:
            total += weighted_mean(value, weight, masks, loss_name=loss.name)
    return total


def select(signal: Any, given: list[Any]) -> Any:
    """Return a signal with zeros where weights and masks leave it out.

    Args:
        signal: Tensor of shape `(batch, ...)`, or None.
        given: Weights and masks of shape `(batch,)`, `(batch, length)` ..., or None.

    Returns:
        The signal; itself where nothing is given.
    """
    if signal is None or not len(signal.shape):
        return signal
    for weight in given:
        if weight is not None:
            counts = ops.not_equal(weight, ops.zeros_like(weight))
            kept = _along(counts, signal)
            zeros = ops.zeros_like(signal)
            signal = ops.where(kept, signal, zeros)
    return signal


def _along(counts: Any, signal: Any) -> Any:
    """Return which entries count, in a shape that broadcasts against a signal."""
    rank, wanted = len(counts.shape), len(signal.shape)
    start = _first_axis(counts.shape, signal.shape)
    if start is None:
        # Tokens of a signal that has none: an example counts if any token does.
        counts = ops.any(counts, axis=tuple(range(1, rank))) if rank > 1 else counts
        rank, start = 1, 1
    size = ops.shape(counts)
    ahead = (1,) * (start - 1)
    return ops.reshape(
        counts, (size[0], *ahead, *size[1:], *(1,) * (wanted - rank - start + 1))
    )


def _first_axis(counts: Any, signal: Any) -> int | None:
    """Return the axis of the signal where the positions of a mask are, or None."""
    rank, wanted = len(counts), len(signal)
    if rank == 1:
        return 1
    if rank == 2 and wanted == 4 and signal[2] == signal[3] == counts[1]:
        return 2  # attention probabilities: (batch, heads, queries, keys)
    if rank >= wanted:
        return None
    pairs = zip(counts[1:], signal[1:], strict=False)
    fits = all(one is None or two is None or one == two for one, two in pairs)
    return 1 if fits else None


def _masks(signals: Any, of_examples: Any, padding: Any) -> Any:
    """Return the mask of each signal: that of Keras, or the padding in the inputs."""

    def mask(signal: Any, counts: bool) -> Any:
        if signal is None or not counts:
            return None
        known = _backend.mask_of(signal)
        if known is not None or padding is None or len(signal.shape) < 3:
            return known
        return padding if _first_axis(padding.shape, signal.shape) else None

    return keras.tree.map_structure(mask, signals, of_examples)


def _for_each_signal(tree: Any, count: int) -> list[Any]:
    """List one entry of `tree` for each of `count` signals; a single one serves all."""
    flat = keras.tree.flatten(tree)
    if len(flat) == count:
        return flat
    return [flat[0] if len(flat) == 1 else None] * count


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
