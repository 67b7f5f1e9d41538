"""What does not count in a batch: before the arithmetic of a loss, and after it."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.context import StepContext
from keras_kd.ops.selection import kept_rows


def included_rows(step: StepContext, count: Any) -> Any:
    """Return which examples of the batch count, or None where all must.

    Args:
        step: The step.
        count: The number of examples.

    Returns:
        Tensor of shape `(count,)`, float32: 1, or 0 for an example without weight or
        masked. None where the batch has neither weights nor masks.
    """
    given = (step.sample_weight, step.teacher_mask, step.student_mask)
    if all(entry is None for entry in keras.tree.flatten(given)):
        return None
    return step.included(count)


def included_positions(step: StepContext, features: Any) -> Any:
    """Return which examples, and which positions of a sequence, count.

    Args:
        step: The step of a loss on one layer of each side.
        features: Tensor of shape `(batch, ..., channels)`.

    Returns:
        Tensor of shape `(batch,)`, or `(batch, length)` for a sequence with a mask,
        float32: 1, or 0 for what is left out.
    """
    keep = step.included(ops.shape(features)[0])
    for mask in keras.tree.flatten([step.teacher_mask, step.student_mask]):
        # That of an image, which may be of another size, does not fit.
        if mask is not None and len(mask.shape) == 2 == len(features.shape) - 1:
            rows = ops.expand_dims(keep, -1) if len(keep.shape) == 1 else keep
            keep = rows * ops.cast(mask, "float32")
    return keep


def kept_signals(step: StepContext, side: str, signals: Any, key: Any = None) -> Any:
    """Return signals with zeros for the examples and positions that are left out.

    A loss that relates examples to each other, or passes them through a layer of its
    own, must take them out before it computes: multiplied by 0, NaN stays NaN.

    Args:
        step: The step.
        side: "teacher" or "student".
        signals: The signals of that side, a structure of tensors `(batch, ...)`.
        key: Their key among all signals of that side, where these are a dict.

    Returns:
        The same structure, float32.
    """
    first = keras.tree.flatten(signals)[0]
    rows = included_rows(step, ops.shape(first)[0])

    def kept(signal: Any, mask: Any) -> Any:
        fits = mask is not None and len(mask.shape) < len(signal.shape)
        return kept_rows(rows, kept_rows(mask, signal) if fits else signal)

    if not keras.tree.is_nested(signals):
        return kept(signals, step.mask_of(side, signals, key))
    flat = keras.tree.flatten(signals)
    masks = keras.tree.flatten(step.mask_of(side, signals, key))
    made = [kept(*pair) for pair in zip(flat, masks, strict=True)]
    return keras.tree.pack_sequence_as(signals, made)


def only_valid(valid: Any, values: Any) -> tuple[Any, Any]:
    """Return the values of a loss, and which of them are valid.

    The one policy for what a loss cannot judge, as an example whose label names no
    class: it is left out of the mean, and not counted as 0 in it.

    Args:
        valid: Boolean tensor of the shape of `values`, or of its first axes.
        values: The values of the loss, `(batch, ...)`.

    Returns:
        What `call` returns: the values, 0 where they are not valid, and which are.
    """
    return kept_rows(valid, values), _of_rank(valid, len(values.shape))


def _of_rank(mask: Any, rank: int) -> Any:
    """Return a mask of that rank: any of its last axes, or ones in their place."""
    axes = tuple(range(rank, len(mask.shape)))
    if axes:
        return ops.any(mask, axis=axes)
    ones = (1,) * (rank - len(mask.shape))
    return ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *ones))
