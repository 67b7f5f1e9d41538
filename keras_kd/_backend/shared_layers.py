"""Layers that teacher and student share, in the file of a Distiller.

Keras writes a shared layer once, and numbers its calls within each model. When it
builds the second model, the layer already has the calls of the first, so that all
numbers point to the wrong ones: they are moved on here, before Keras reads them.
"""

from typing import Any

import keras

from keras_kd import _backend

_SHARED = "shared_object_id"


def moved_on(config: Any, first_config: Any, first: Any) -> Any:
    """Return the config of a model that shares layers with one that is built.

    Args:
        config: The serialized model that is built next.
        first_config: The serialized model that is built.
        first: That model; anything else shares nothing.

    Returns:
        The config, in which each call of a shared layer has its number among all.
    """
    built: dict[int, keras.layers.Layer] = {}
    if isinstance(first, keras.Model):
        _collect(first_config, first, built)
    return _moved(config, built) if built else config


def _collect(config: Any, model: keras.Model, built: dict[int, Any]) -> None:
    inner = config.get("config") if isinstance(config, dict) else None
    for entry in inner.get("layers", []) if isinstance(inner, dict) else []:
        name = entry.get("name") or entry["config"]["name"]
        layer = next((la for la in model.layers if la.name == name), None)
        if layer is not None and _SHARED in entry:
            built[entry[_SHARED]] = layer
        if isinstance(layer, keras.Model):
            _collect(entry, layer, built)


def _moved(config: Any, built: dict[int, Any]) -> Any:
    if isinstance(config, list):
        return [_moved(entry, built) for entry in config]
    if not isinstance(config, dict):
        return config
    if not {"layers", "input_layers", "output_layers"} <= config.keys():
        return {key: _moved(value, built) for key, value in config.items()}
    calls = {
        entry["name"]: _backend.symbolic_calls(built[entry[_SHARED]])
        for entry in config["layers"]
        if entry.get(_SHARED) in built
    }
    layers = [
        {
            **{key: _moved(value, built) for key, value in entry.items()},
            "inbound_nodes": _renumbered(entry["inbound_nodes"], calls),
        }
        for entry in config["layers"]
    ]
    ends = {
        key: _renumbered(config[key], calls)
        for key in ("input_layers", "output_layers")
    }
    return {**config, "layers": layers, **ends}


def _renumbered(tree: Any, calls: dict[str, int]) -> Any:
    """Return a structure in which `[layer, call, tensor]` names a later call."""
    if isinstance(tree, dict):
        return {key: _renumbered(value, calls) for key, value in tree.items()}
    if not isinstance(tree, (list, tuple)):
        return tree
    is_reference = len(tree) == 3 and isinstance(tree[0], str)
    if is_reference and all(isinstance(entry, int) for entry in tree[1:]):
        return [tree[0], tree[1] + calls.get(tree[0], 0), tree[2]]
    return [_renumbered(entry, calls) for entry in tree]
