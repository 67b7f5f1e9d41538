"""A copy of a layer of another model, which never trains."""

from typing import Any

import keras

from keras_kd import _backend


def frozen_copy(layer: keras.layers.Layer, width: int, *, name: str) -> Any:
    """Return a copy of a classifier of vectors, in float32 and not trainable.

    Args:
        layer: A built layer that maps `(batch, width)` to `(batch, classes)`.
        width: The number of channels it takes.
        name: The name of the copy.

    Returns:
        A layer with the same weights that shares nothing with the given one.

    Raises:
        ValueError: If the layer takes or gives something else.

    Example:
    >>> layer = keras.layers.Dense(3)
    >>> layer.build((None, 4))
    >>> frozen_copy(layer, 4, name="copy").trainable
    False
    """
    config = {**layer.get_config(), "name": name}
    if "dtype" in config:
        config["dtype"] = "float32"
    try:
        copy = type(layer).from_config(config)
        copy.build((None, width))
        copy.set_weights(layer.get_weights())
        made = copy.compute_output_shape((None, width))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _unfit(layer, width, f"which raised: {error}") from error
    if len(made) != 2:
        raise _unfit(layer, width, f"which gives {tuple(made)}")
    _backend.freeze(copy)
    return copy


def _unfit(layer: Any, width: int, cause: str) -> ValueError:
    return ValueError(
        "The classifier must be a layer that turns the feature, a vector of "
        f"{width} channels, into logits. Received: the layer {layer.name!r} of type "
        f"{type(layer).__name__}, {cause}. Name the layer that takes the feature, and "
        "as feature what it takes in."
    )
