"""Bringing two feature maps to one shape."""

from typing import Any

import keras
from keras import ops

from keras_kd.losses.logits.checks import NO_LAST_AXIS
from keras_kd.ops.resize import adaptive_average_pool, smaller_length


def is_channels_first(spec: Any) -> bool:
    """Say whether a feature is an image with its channels before height and width."""
    first = keras.config.image_data_format() == "channels_first"
    return first and len(spec.shape) == 4


def width_of(spec: Any) -> Any:
    """Return the number of channels of a feature."""
    return spec.shape[1 if is_channels_first(spec) else -1]


def channels_last(features: Any) -> Any:
    """Return an image feature as `(batch, height, width, channels)`."""
    if is_channels_first(features):
        return ops.transpose(features, (0, 2, 3, 1))
    return features


def same_spatial_size(teacher: Any, student: Any) -> tuple[Any, Any]:
    """Return two image features of one size: each axis at the smaller of the two.

    The larger map is averaged down; enlarging would invent detail.

    Args:
        teacher: Tensor of shape `(batch, height, width, channels)`, or any other rank.
        student: Tensor of the same rank.

    Returns:
        The two tensors, unchanged where they are no images.
    """
    if len(teacher.shape) != 4:
        return teacher, student
    pairs = zip(ops.shape(teacher)[1:3], ops.shape(student)[1:3], strict=True)
    size = tuple(smaller_length(*pair) for pair in pairs)
    return adaptive_average_pool(teacher, size), adaptive_average_pool(student, size)


def check_same_rank(teacher: Any, student: Any, *, loss_name: str) -> None:
    """Raise where two features cannot be brought to one shape.

    Raises:
        ValueError: If their ranks differ, or they are sequences of different length.
    """
    pair = f"teacher {tuple(teacher.shape)}, student {tuple(student.shape)}"
    ranks = {len(teacher.shape), len(student.shape)}
    if len(ranks) > 1 or min(ranks) < 2:
        advice = (
            NO_LAST_AXIS
            if min(ranks) < 2
            else "Tap layers of the same kind, for instance both before or both after "
            "the global pooling."
        )
        raise ValueError(
            f"{loss_name} compares features of one rank, `(batch, ..., channels)`. "
            f"Received: {pair}. {advice}"
        )
    if len(student.shape) == 4:
        return
    for t, s in zip(teacher.shape[1:-1], student.shape[1:-1], strict=True):
        if t is not None and s is not None and t != s:
            raise ValueError(
                f"{loss_name} compares position by position. Received: {pair}, of "
                "different length. Only images are resized; pool the sequences, or "
                "tap layers where their lengths agree."
            )
