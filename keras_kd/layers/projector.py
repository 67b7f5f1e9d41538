"""The map from the student's width to the teacher's."""

from typing import Any

import keras


def projector(
    student: Any,
    teacher_width: int,
    *,
    data_format: str | None = None,
    dtype: Any = None,
    name: str = "projector",
) -> keras.layers.Layer:
    """Return a built linear map of a feature's channels, a 1×1 convolution on images.

    Args:
        student: The spec of the student's feature, `(batch, ..., channels)`, or
            `(batch, channels, height, width)` in the format "channels_first".
        teacher_width: The number of channels to map to.
        data_format: "channels_last" or "channels_first"; Keras's own by default.
        dtype: The dtype policy. Defaults to Keras's global one.
        name: The name of the layer.

    Returns:
        A built layer.

    Example:
    >>> student = keras.KerasTensor((None, 8, 8, 16))
    >>> projector(student, 64).compute_output_shape((None, 8, 8, 16))
    (None, 8, 8, 64)
    """
    if data_format is None:
        data_format = keras.config.image_data_format()
    if data_format == "channels_first" and len(student.shape) == 4:
        layer: keras.layers.Layer = keras.layers.Conv2D(
            teacher_width, 1, data_format=data_format, dtype=dtype, name=name
        )
    else:
        # On the last axis a dense layer is the 1×1 convolution, without its overhead.
        layer = keras.layers.Dense(teacher_width, dtype=dtype, name=name)
    layer.build(tuple(student.shape))
    return layer
