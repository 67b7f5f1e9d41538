"""Which layers of a model attend, and what their parts are."""

import inspect
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.layer_paths import check_has_layers, walk

PARTS = ("query", "key", "value")
_SUFFIXES = ("", "_dense", "_projector", "_projection", "_proj")


def attention_layers(model: Any, *, side: str) -> list[keras.layers.Layer]:
    """List the attention layers of a model, in their order.

    These are Keras's own, their subclasses, and all layers that project to queries,
    keys and values by layers of these names, as those of language models do.

    Args:
        model: The teacher or the student.
        side: "teacher" or "student", for messages.

    Returns:
        The layers; an empty list for a model without any, or one that is not built.

    Raises:
        ValueError: If `model` is a plain function, without layers.

    Example:
    >>> inputs = keras.Input((5, 8))
    >>> attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
    >>> model = keras.Model(inputs, attention(inputs, inputs))
    >>> [layer.name for layer in attention_layers(model, side="student")]
    ['attention']
    """
    check_has_layers(model, side=side)
    return [layer for _, layer in walk(model) if _is_attention(layer)]


def parts_of_attention(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Return the layers that give an attention layer's queries, keys and values.

    Args:
        layer: The attention layer.

    Returns:
        Those that were found, by "query", "key" and "value".

    Example:
    >>> layer = keras.layers.MultiHeadAttention(2, 4)
    >>> layer.build((None, 5, 8), (None, 5, 8))
    >>> list(parts_of_attention(layer))
    ['query', 'key', 'value']
    """
    names = {name: c for c, given in _backend.children(layer) for name in given}
    found = {}
    for part in PARTS:
        wanted = [part + suffix for suffix in _SUFFIXES] + [f"{part[0]}_proj"]
        layers = [names[name] for name in wanted if name in names]
        if layers:
            found[part] = layers[0]
    return found


def has_scores_argument(layer: Any) -> bool:
    """Say whether the layer's call takes `return_attention_scores`."""
    return "return_attention_scores" in inspect.signature(layer.call).parameters


def may_give_attention(layer: Any) -> bool:
    """Say whether attention probabilities might be had of a layer.

    A layer may still compute them in one fused operation that does not form them,
    which only its forward pass tells.
    """
    return has_scores_argument(layer) or _backend.has_attention_method(layer)


def _is_attention(layer: Any) -> bool:
    kinds = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
    if isinstance(layer, kinds):
        return True
    parts = parts_of_attention(layer)
    # A model of two towers may have parts of these names, which are no projections.
    return len(parts) == len(PARTS) and not any(
        list(_backend.children(part)) for part in parts.values()
    )
