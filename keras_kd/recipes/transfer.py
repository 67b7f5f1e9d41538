"""Weights that a new model takes over from an older one."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.signals.layer_paths import walk


def transfer_weights(
    source: keras.Model, target: keras.Model, *, grow: bool = False
) -> list[str]:
    """Copy the weights of all layers that two models have in common, by their names.

    A layer is copied as a whole or not at all.

    Args:
        source: A built model.
        target: A built model, which is changed.
        grow: Whether a weight that is larger in the target, in any axis, takes the
            source's as its first rows and columns: the classifier of a model with
            more classes. Without, only layers of the same shapes are copied.

    Returns:
        The paths of the layers that were copied, as in `keras_kd.Tap`.

    Raises:
        ValueError: The models have no layer in common.

    Example:
    >>> small = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(2, name="classes")]
    ... )
    >>> large = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dense(3, name="classes")]
    ... )
    >>> transfer_weights(small, large, grow=True)
    ['classes']
    """
    known, copied = own_weights(source), []
    for path, weights in own_weights(target).items():
        old = known.get(path, [])
        if len(old) == len(weights) and all(map(_fits(grow), old, weights)):
            for before, weight in zip(old, weights, strict=True):
                _copy(before, weight)
            copied.append(path)
    if not copied:
        raise ValueError(
            "`source` and `target` must have layers of the same name and shape. "
            f"Received: source={source.name!r}, target={target.name!r}, which have "
            "none in common. Name the layers."
        )
    return copied


def own_weights(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """Return the weights of each layer that has some, without those of layers in it.

    Args:
        model: A built model. Its own weights have the path "".
    """
    found: dict[str, list[keras.Variable]] = {}
    seen: set[int] = set()
    # The innermost first: a model lists the weights of its layers again.
    layers = sorted([("", model), *walk(model)], key=_depth, reverse=True)
    for path, layer in layers:
        own = [weight for weight in layer.weights if id(weight) not in seen]
        seen.update(map(id, own))
        if own:
            found[path] = own
    return found


def _depth(pair: tuple[str, Any]) -> int:
    return pair[0].count("/") + 1 if pair[0] else 0


def _fits(grow: bool) -> Callable[[keras.Variable, keras.Variable], bool]:
    def fits(old: keras.Variable, new: keras.Variable) -> bool:
        if not grow:
            return tuple(old.shape) == tuple(new.shape)
        pairs = zip(old.shape, new.shape, strict=False)
        return len(old.shape) == len(new.shape) and all(a <= b for a, b in pairs)

    return fits


def _copy(old: keras.Variable, new: keras.Variable) -> None:
    """Assign a weight, or the first rows and columns of a larger one."""
    if tuple(old.shape) == tuple(new.shape):
        new.assign(ops.copy(old.value))
        return
    value = np.array(new.numpy())
    value[tuple(slice(0, size) for size in old.shape)] = old.numpy()
    new.assign(value)
