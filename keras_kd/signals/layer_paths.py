"""Finding a layer inside a model by object or by path."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import keras

from keras_kd import _backend


def walk(model: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield `(path, layer)` for every layer below `model`, parents first.

    A layer that is reached by two ways is listed once, by the shorter path. A name
    that Keras made up, with a number that differs from one instance of the model to
    the next, gives way to the attribute that holds the layer.
    """
    seen = {id(model)}
    level = [("", model)]
    while level:
        below = []
        for path, parent in level:
            for child, names in _backend.children(parent):
                if id(child) not in seen:
                    seen.add(id(child))
                    name = _stable_name(child, names)
                    child_path = f"{path}/{name}" if path else name
                    yield child_path, child
                    below.append((child_path, child))
        level = below


def _stable_name(layer: keras.layers.Layer, names: set[str]) -> str:
    others = names - {layer.name}
    if not others or not _backend.is_auto_named(layer):
        return layer.name
    return min(others, key=lambda name: (len(name), name))


def path_of(model: keras.layers.Layer, layer: keras.layers.Layer) -> str | None:
    """Return the path of `layer` inside `model`, or None where it is not a part."""
    if layer is model:
        return ""
    return next((path for path, found in walk(model) if found is layer), None)


def check_has_layers(model: Any, *, side: str) -> None:
    """Raise where `model` is a plain function, inside which there is nothing to tap.

    Raises:
        ValueError: It is.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            f"Layers can be tapped in a Keras model only. Received: a {side} of type "
            f"{type(model).__name__}. Give the Keras model itself, or compare outputs."
        )


def find_layer(
    model: keras.layers.Layer, address: Any, *, side: str
) -> keras.layers.Layer:
    """Return the layer of `model` that `address` names.

    Args:
        model: The model or layer to search.
        address: A layer object, or a path of names from the model downward, such as
            "backbone/block_3/relu". A segment is the name of a layer, the attribute
            or property that holds it, or its place in a list or dict ("blocks[3]",
            "blocks[-1]", "towers[image]"). A single name that the model itself does
            not have is looked up below it.
        side: "teacher" or "student", for the message of an error.

    Returns:
        The layer.

    Raises:
        ValueError: There is no such layer, or a name below the model is ambiguous.
    """
    check_has_layers(model, side=side)
    if isinstance(address, keras.layers.Layer):
        if path_of(model, address) is None:
            raise ValueError(
                f"The tapped layer must be a part of the {side}. Received: layer "
                f"'{address.name}' of type {type(address).__name__}, which is not "
                f"inside '{model.name}'. Take the layer from the {side} itself, or "
                "give its path as a string."
            )
        return address
    if not isinstance(address, str) or not address:
        raise ValueError(
            f"The layer of the {side} must be given as a path, a "
            f"`keras.layers.Layer` or a `keras_kd.Tap`. Received: {address!r}"
        )
    layer = model
    for segment in address.split("/"):
        matches = [c for c, names in _backend.children(layer) if segment in names]
        matches = matches or _by_attribute(layer, segment)
        if not matches and layer is model and "/" not in address:
            return _find_below(model, address, side=side)
        if not matches:
            raise _not_found(model, address, segment, side=side)
        layer = matches[0]
    return layer


def _by_attribute(layer: keras.layers.Layer, segment: str) -> list[keras.layers.Layer]:
    """List the part of a layer that an attribute or property of it returns, if any."""
    match = re.fullmatch(r"([A-Za-z]\w*)(?:\[([^\]]+)\])?", segment)
    if match is None:
        return []
    name, key = match.groups()
    try:
        found = getattr(layer, name, None)
    except Exception:  # a property that has nothing to return may raise anything
        return []
    if isinstance(found, (list, tuple)) and re.fullmatch(r"-?\d+", key or ""):
        place = int(key)
        found = found[place] if -len(found) <= place < len(found) else None
    elif isinstance(found, dict) and key is not None:
        found = found.get(key)
    elif key is not None:
        return []
    is_part = isinstance(found, keras.layers.Layer) and path_of(layer, found)
    return [found] if is_part else []


def _find_below(
    model: keras.layers.Layer, name: str, *, side: str
) -> keras.layers.Layer:
    matches = [
        (path, layer)
        for path, layer in walk(model)
        if name in (layer.name, path.rpartition("/")[2])
    ]
    if not matches:
        raise _not_found(model, name, name, side=side)
    if len(matches) > 1:
        paths = ", ".join(f"'{path}'" for path, _ in matches)
        raise ValueError(
            f"The layer name '{name}' must be unique below the {side} "
            f"'{model.name}'. Received: a name that stands for {paths}. Give one of "
            "these paths."
        )
    return matches[0][1]


def _not_found(
    model: keras.layers.Layer, address: str, segment: str, *, side: str
) -> ValueError:
    paths = [path for path, _ in walk(model)]
    if not paths:
        return ValueError(
            f"No layer '{address}' in the {side} '{model.name}': it has no layers "
            "yet. Build it by calling it on a batch, or give the layer object."
        )
    names = {path.rsplit("/", 1)[-1]: path for path in paths}
    near = get_close_matches(address, paths, n=3, cutoff=0.5)
    near += [names[n] for n in get_close_matches(segment, list(names), n=3, cutoff=0.5)]
    shown = list(dict.fromkeys(near)) or paths[:8]
    return ValueError(
        f"No layer '{address}' in the {side} '{model.name}'. Received: a path whose "
        f"part '{segment}' matches nothing. "
        + ("Did you mean " if near else "Some of its layers: ")
        + ", ".join(f"'{path}'" for path in shown)
        + "?" * bool(near)
    )


def ends_of(model: keras.Model) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of a Functional model, in structure."""
    if isinstance(model, keras.Sequential):  # a chain: one of each
        return model.inputs[0], model.outputs[0]
    return model.input, model.output
