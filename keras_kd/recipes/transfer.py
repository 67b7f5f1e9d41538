"""Weights that a new model takes over from an older one."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.layer_paths import walk


def transfer_weights(
    source: keras.Model, target: keras.Model, *, grow: bool = False
) -> list[str]:
    """Copy the weights of all layers that two models have in common, by their names.

    Args:
        source: A built model.
        target: A built model, which is changed.
        grow: Whether a weight that is larger in the target, in any axis, takes the
            source's as its first rows and columns: the classifier of a model with
            more classes. Without, only weights of one shape are copied.

    Returns:
        The paths of the target's weights that were copied.

    Raises:
        ValueError: The models have no weight in common.

    Example:
    >>> small = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="classes")]
    ... )
    >>> large = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(3, name="classes")]
    ... )
    >>> len(transfer_weights(small, large, grow=True))
    2
    """
    known = _by_layer(source)
    copied = []
    for key, weight in _by_layer(target).items():
        old = known.get(key)
        if old is None or len(old.shape) != len(weight.shape):
            continue
        if tuple(old.shape) == tuple(weight.shape):
            weight.assign(ops.copy(old.value))
        elif grow and all(a <= b for a, b in zip(old.shape, weight.shape, strict=True)):
            value = np.array(weight.numpy())
            value[tuple(slice(0, size) for size in old.shape)] = old.numpy()
            weight.assign(value)
        else:
            continue
        copied.append(weight.path)
    if not copied:
        raise ValueError(
            "`source` and `target` must have layers of the same name and shape. "
            f"Received: source={source.name!r}, target={target.name!r}, which have "
            "none in common. Name the layers."
        )
    return copied


def _by_layer(model: keras.Model) -> dict[Any, keras.Variable]:
    """Return the weights by the paths of their layers and their place in these."""
    found: dict[Any, keras.Variable] = {}
    seen: set[int] = set()
    # The innermost first: a model lists the weights of its layers again.
    for path, layer in sorted(walk(model), key=lambda pair: -pair[0].count("/")):
        for place, weight in enumerate(layer.weights):
            if id(weight) not in seen:
                seen.add(id(weight))
                found[path, place] = weight
    return found
