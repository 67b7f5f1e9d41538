"""What a value is, written down: two values that differ have two descriptions."""

import functools
import hashlib
import json
import re
import types
import warnings
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_kd.signals.layer_paths import walk

# What a model was compiled with, and the batch that it was built on, are no part of it.
_NO_CONFIGURATION = ("compile_config", "build_config")
# Objects that hold objects; a configuration of nested models needs about half of it.
_DEEPEST = 60


def describe(value: Any) -> Any:
    """Return the JSON form of what a value is, the same in each process.

    Arrays, variables and weights are described by a hash of their content, objects by
    their configuration or their attributes, functions by their code and by what they
    hold: numbers, arrays and models. Functions that they call are not looked into.
    Names that Keras made up are replaced: they count what the process has built.

    Args:
        value: Any value.

    Returns:
        A structure of lists, dicts with text as keys, text, numbers and None.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lambdas, that a file could not hold
        return _with_own_names(_described(value, ()))


def digest(value: Any) -> str:
    """Return a hash that differs where two values do, of 64 characters."""
    text = json.dumps(describe(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def weights_digest(variables: Iterable[Any]) -> str:
    """Return a hash of the names, dtypes, shapes and contents of variables."""
    described = [[_own_name(v.name), *_described(v, ())["array"]] for v in variables]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def is_array(value: Any) -> bool:
    """Say whether a value is an array or a tensor."""
    return isinstance(value, np.ndarray) or keras.ops.is_tensor(value)


def is_plain(value: Any) -> bool:
    """Say whether a value is a number, text or None, or holds nothing else."""
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc"
    return value is None or isinstance(value, (bool, int, float, str))


def _described(value: Any, outer: tuple[int, ...]) -> Any:
    """Describe a value inside of others, of which none is described once more."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, keras.Variable) or is_array(value):
        return _array(value)
    if id(value) in outer:
        return "itself"
    outer = (*outer, id(value))
    if isinstance(value, dict):
        pairs = [
            [_described(key, outer), _described(held, outer)]
            for key, held in value.items()
            if key not in _NO_CONFIGURATION
        ]
        if all(isinstance(key, str) for key, _ in pairs):
            return dict(pairs)
        return {"pairs": sorted(pairs, key=repr)}
    if isinstance(value, (list, tuple)):
        return [_described(held, outer) for held in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((_described(held, outer) for held in value), key=repr)}
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    return _object(value, outer)


def _array(value: Any) -> dict[str, Any]:
    array = np.asarray(keras.ops.convert_to_numpy(value))
    if array.dtype.kind == "O":  # whose bytes are addresses
        return {"array": ["object", list(array.shape), digest(array.tolist())]}
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"array": [str(array.dtype), list(array.shape), content]}


def _object(value: Any, outer: tuple[int, ...]) -> Any:
    if isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
        return {"partial": _described(parts, outer)}
    if isinstance(value, types.MethodType):
        return {"method": _described([value.__self__, value.__func__], outer)}
    if isinstance(value, (type, types.BuiltinFunctionType)):
        return {"name": value.__qualname__}
    if isinstance(value, types.ModuleType) or len(outer) > _DEEPEST:
        return {"kind": type(value).__name__}
    if isinstance(value, types.FunctionType):
        return _function(value, outer)
    if isinstance(value, types.CodeType):
        return _code(value, outer)
    name = type(value).__qualname__
    if isinstance(value, keras.layers.Layer):
        return {
            "class": name,
            "config": _described(_layer_config(value), outer),
            "weights": weights_digest(value.weights),
        }
    if isinstance(value, keras.KerasTensor):
        return {"class": name, "shape": list(value.shape), "dtype": str(value.dtype)}
    state = getattr(value, "state_dict", None)  # a module of torch, on any backend
    if callable(state):
        return {"class": name, "state": _described(dict(state()), outer)}
    described: dict[str, Any] = {"class": name}
    config = _config(value)
    if config is not None:
        described["config"] = _described(config, outer)
    if not type(value).__module__.startswith("keras."):
        # A class of one's own may say in its configuration less than it is.
        hidden = "__" if config is None else "_"
        described["attributes"] = {
            key: _described(held, outer)
            for key, held in getattr(value, "__dict__", {}).items()
            if not key.startswith(hidden)
        }
    return described


def _config(value: Any) -> Any:
    get_config = getattr(value, "get_config", None)
    if not callable(get_config):
        return None
    try:
        return get_config()
    except Exception:  # whatever `get_config` of a user's class raises
        return None


def model_config(model: keras.Model) -> Any:
    """Return the description of the structure of a model, without its weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = _described(_layer_config(model), ())
    described = {"class": type(model).__qualname__, "config": config}
    return _with_own_names(described)


def _layer_config(layer: Any) -> Any:
    shapes = [[_own_name(w.name), list(w.shape), str(w.dtype)] for w in layer.weights]
    config = _config(layer)
    if config is None:
        # What cannot describe itself: its layers do.
        config = [
            {"class": type(part).__qualname__, "config": _config(part)}
            for _, part in walk(layer)
        ]
    return {"config": config, "variables": shapes}


def _function(value: types.FunctionType, outer: tuple[int, ...]) -> Any:
    name = value.__qualname__
    if value.__module__ and value.__module__.startswith("keras."):
        return {"function": name}
    held = [cell.cell_contents for cell in value.__closure__ or () if _is_set(cell)]
    used = {
        key: value.__globals__[key]
        for key in sorted(_names_in(value.__code__))
        if key in value.__globals__
    }
    kinds = (keras.layers.Layer, keras.Variable)
    return {
        "function": name,
        "code": _code(value.__code__, outer),
        "defaults": _described([value.__defaults__, value.__kwdefaults__], outer),
        "closure": _described(held, outer),
        "globals": {
            key: _described(held, outer)
            for key, held in used.items()
            if is_plain(held) or is_array(held) or isinstance(held, kinds)
        },
    }


def _is_set(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  raises where a name has no value yet
    except ValueError:
        return False
    return True


def _names_in(code: types.CodeType) -> set[str]:
    inner = [held for held in code.co_consts if isinstance(held, types.CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def _code(code: types.CodeType, outer: tuple[int, ...]) -> Any:
    """Describe what a function does, wherever it stands in its file."""
    names = [code.co_names, code.co_varnames, code.co_freevars]
    return [
        hashlib.sha256(code.co_code).hexdigest(),
        _described([names, code.co_consts], outer),
    ]


def _with_own_names(described: Any) -> Any:
    """Replace names that count the objects of a process, as "dense_7"."""
    made_up: dict[str, str] = {}
    _collect(described, made_up)
    return _replaced(described, made_up)


def _collect(described: Any, made_up: dict[str, str]) -> None:
    if isinstance(described, list):
        for held in described:
            _collect(held, made_up)
    if not isinstance(described, dict):
        return
    kind = described.get("class_name", described.get("class"))
    config = described.get("config")
    while isinstance(config, dict) and "name" not in config and "config" in config:
        config = config["config"]
    name = config.get("name") if isinstance(config, dict) else None
    if isinstance(kind, str) and isinstance(name, str) and _counts(kind, name):
        made_up.setdefault(name, f"{_own_name(name)}#{len(made_up)}")
    for held in described.values():
        _collect(held, made_up)


def _counts(kind: str, name: str) -> bool:
    """Say whether Keras has made a name of the name of a class."""
    plain = re.sub(r"_\d+$", "", name).replace("_", "")
    return plain == re.sub(r"\W|_", "", kind.rsplit(">", 1)[-1]).lower()


def _replaced(described: Any, made_up: dict[str, str]) -> Any:
    if isinstance(described, str):
        return made_up.get(described, described)
    if isinstance(described, list):
        return [_replaced(held, made_up) for held in described]
    if isinstance(described, dict):
        return {
            made_up.get(key, key): _replaced(held, made_up)
            for key, held in described.items()
        }
    return described


def _own_name(name: str) -> str:
    return re.sub(r"_\d+$", "", name)
