"""Batch normalisation that leaves examples out."""

from typing import Any

from keras import ops


def normalized(layer: Any, x: Any, *, training: bool, included: Any = None) -> Any:
    """Return what a batch normalisation makes of features.

    Args:
        layer: A `keras.layers.BatchNormalization` over the last axis.
        x: Tensor of shape `(batch, ..., channels)`, a number in each place.
        training: Whether the statistics are those of the batch, and learn.
        included: Tensor of shape `(batch,)`, 0 for an example that is left out of the
            statistics; or None.

    Returns:
        Tensor of the shape of `x`.

    Example:
    >>> layer = keras.layers.BatchNormalization()
    >>> x = np.array([[1.0], [3.0], [999.0]])
    >>> kept = np.array([1.0, 1.0, 0.0])
    >>> made = normalized(layer, x, training=True, included=kept)
    >>> [round(float(value), 2) for value in made[:2, 0]]
    [-1.0, 1.0]
    """
    if included is None:
        return layer(x, training=training)
    keep = ops.not_equal(included, ops.zeros_like(included))
    keep = ops.reshape(keep, (-1, *(1,) * (len(x.shape) - 2)))
    mask = ops.broadcast_to(keep, ops.shape(x)[:-1])
    return layer(x, training=training, mask=mask)
