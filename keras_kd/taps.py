"""What a layer produced during a forward pass that happens anyway.

A tapped layer is given, for the time of one forward pass, a subclass of its own class
whose `__call__` also notes what went in and what came out. Nothing is rebuilt and
nothing runs twice: nested models, sub-layers of blocks, shared layers and models that
override `call` are all reached, compiled or not.
"""

import sys
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.layer_paths import find_layer, path_of

_KINDS = ("output", "input", "attention")

# Which layer of which model a tap stands for. Kept outside of the taps, which are plain
# data that users copy and save.
_resolved: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()


@keras.saving.register_keras_serializable(package="keras_kd")
class Tap:
    """A request for what one call of a layer takes in or gives out.

    Args:
        layer: The layer: a path such as "backbone/block_3/relu", or the object.
        call: Which call of a layer that is called several times in a forward pass,
            counted from 0 (negative from the last). With None, the only call; where
            there are several, the first, with a warning.
        of: "output", "input" (the first argument of the call) or "attention" (the
            attention probabilities of a `keras.layers.MultiHeadAttention`, of shape
            `(batch, heads, queries, keys)`).

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> tap = Tap("encoder/block_1", of="input")
    >>> tap.layer, tap.of
    ('encoder/block_1', 'input')
    """

    def __init__(self, layer: Any, call: int | None = None, of: str = "output") -> None:
        if of not in _KINDS:
            raise ValueError(f"`of` must be one of {_KINDS}. Received: of={of!r}")
        if call is not None and (isinstance(call, bool) or not isinstance(call, int)):
            raise ValueError(
                "`call` must be None or an integer: the place of the call among the "
                f"calls of the layer in one forward pass. Received: call={call!r}"
            )
        is_path = isinstance(layer, str) and bool(layer)
        if not is_path and not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                "`layer` must be the path of a layer or a `keras.layers.Layer`. "
                f"Received: layer={layer!r} (of type {type(layer).__name__})"
            )
        self.layer = layer
        self.call = call
        self.of = of
        self._path: str | None = layer if isinstance(layer, str) else None

    def resolve(self, model: keras.layers.Layer, *, side: str) -> keras.layers.Layer:
        """Return the layer inside `model`, and remember its path for saving."""
        kept = _resolved.get(self)
        if kept is not None and kept[0]() is model and kept[1]() is not None:
            return kept[1]()
        found = find_layer(model, self.layer, side=side)
        if self.of == "attention" and not _gives_attention(found):
            raise ValueError(
                "Attention probabilities come from a `keras.layers.MultiHeadAttention` "
                "or `keras.layers.GroupQueryAttention`, or a subclass that keeps "
                f"their argument `return_attention_scores`. Received: the {side}'s "
                f"layer '{found.name}' of type {type(found).__name__}."
            )
        self._path = path_of(model, found)
        # Searching a deep model takes longer than a small eager step may.
        _resolved[self] = weakref.ref(model), weakref.ref(found)
        return found

    def __repr__(self) -> str:
        name = self.layer if isinstance(self.layer, str) else self.layer.name
        return f"Tap({name!r}, call={self.call}, of={self.of!r})"

    def get_config(self) -> dict[str, Any]:
        path = self._path if self._path is not None else self.layer.name
        return {"layer": path, "call": self.call, "of": self.of}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Tap":
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_kd")
class Output:
    """A request for what the whole model gives out.

    Args:
        key: None for all of it, whatever its structure; the name or the index of an
            output of a model that has several.

    Example:
    >>> Output("digit").key
    'digit'
    """

    def __init__(self, key: str | int | None = None) -> None:
        if not (key is None or isinstance(key, str | int)) or isinstance(key, bool):
            raise ValueError(
                "`key` must be None, or the name or index of an output. "
                f"Received: key={key!r}"
            )
        self.key = key

    def __repr__(self) -> str:
        return f"Output({self.key!r})"

    def get_config(self) -> dict[str, Any]:
        return {"key": self.key}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Output":
        return cls(**config)


@dataclass
class _Call:
    """One call of a tapped layer."""

    input: Any
    output: Any
    attention: Any = None


@dataclass
class Recording:
    """What one forward pass left behind: the model's output and the tapped calls."""

    model: Any
    side: str
    output: Any = None
    calls: dict[int, list[_Call]] = field(default_factory=dict)
    wants_attention: frozenset[int] = frozenset()
    first_batch: bool = False

    def fetch(self, request: Any) -> Any:
        """Return the signal that a `Tap` or an `Output` asks for."""
        if isinstance(request, Output):
            return select_output(self.model, self.output, request.key, self.side)
        layer = request.resolve(self.model, side=self.side)
        calls = self.calls.get(id(layer), [])
        if not calls:
            raise ValueError(
                f"{request} of the {self.side} cannot be tapped: the layer "
                f"'{layer.name}' was never called in the forward pass. Its parent runs "
                "it by other means, as `TimeDistributed` does, or not at all: tap "
                f"{_parent(self.model, layer)} instead."
            )
        if request.call is None and len(calls) > 1 and self.first_batch:
            warnings.warn(
                f"The {self.side}'s layer '{layer.name}' is called {len(calls)} times "
                "in a forward pass; the first call is taken. Say which by "
                "`keras_kd.Tap(layer, call=...)`.",
                stacklevel=2,
            )
        place = 0 if request.call is None else request.call
        if not -len(calls) <= place < len(calls):
            raise ValueError(
                f"`call` must be below the number of calls of the layer "
                f"'{layer.name}' of the {self.side}, {len(calls)}. "
                f"Received: {request}"
            )
        return getattr(calls[place], request.of)


def select_output(model: Any, output: Any, key: str | int | None, side: str) -> Any:
    """Return one of the outputs of a model by name or by index."""
    if key is None:
        return output
    if isinstance(output, dict) and key in output:
        return output[key]
    if isinstance(output, (list, tuple)):
        names = list(getattr(model, "output_names", None) or [])
        place = names.index(key) if isinstance(key, str) and key in names else key
        if isinstance(place, int) and -len(output) <= place < len(output):
            return output[place]
        known: Any = names or f"0 to {len(output) - 1}"
    else:
        known = list(output) if isinstance(output, dict) else "one output, without key"
    raise ValueError(
        f"`key` must name an output of the {side}: {known}. Received: key={key!r}"
    )


def _parent(model: Any, layer: Any) -> str:
    path = path_of(model, layer) or ""
    parent = path.rpartition("/")[0]
    return f"its parent '{parent}'" if parent else "the model's output"


def _gives_attention(layer: Any) -> bool:
    kinds = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
    return isinstance(layer, kinds)


_lock = threading.Lock()
_users: dict[int, int] = {}
_plain_class: dict[int, type] = {}
_recording_classes: dict[type, type] = {}
_active = threading.local()


@contextmanager
def recording(
    model: Any, requests: Iterable[Any], *, side: str, check_calls: bool = False
) -> Iterator[Recording]:
    """Record the tapped layers of `model` during the forward pass inside the scope.

    Args:
        model: The model whose forward pass runs inside.
        requests: The `Tap` and `Output` objects to serve later by `fetch`.
        side: "teacher" or "student", for messages.
        check_calls: Whether to look, at every recorded call, for a loop or a
            rematerialised block around it, whose values cannot leave it.
    """
    record = Recording(model, side, first_batch=check_calls)
    layers = {}
    attention = set()
    for request in requests:
        if isinstance(request, Tap):
            layer = request.resolve(model, side=side)
            layers[id(layer)] = layer
            record.calls[id(layer)] = []
            if request.of == "attention":
                attention.add(id(layer))
    record.wants_attention = frozenset(attention)
    outer = getattr(_active, "sink", None)
    _active.sink = (record, check_calls)
    swapped = []
    try:
        for layer in layers.values():
            _start_recording(layer)
            swapped.append(layer)
        yield record
    finally:
        _active.sink = outer
        for layer in swapped:
            _stop_recording(layer)


def _start_recording(layer: Any) -> None:
    with _lock:
        _users[id(layer)] = _users.get(id(layer), 0) + 1
        if _users[id(layer)] == 1:
            _plain_class[id(layer)] = type(layer)
            # The trackers of Keras and torch in `__setattr__` do not know `__class__`.
            object.__setattr__(layer, "__class__", _recording_class(type(layer)))


def _stop_recording(layer: Any) -> None:
    with _lock:
        _users[id(layer)] -= 1
        if not _users[id(layer)]:
            del _users[id(layer)]
            object.__setattr__(layer, "__class__", _plain_class.pop(id(layer)))


def _recording_class(plain: type) -> type:
    if plain not in _recording_classes:

        def call_and_record(self: Any, *args: Any, **kwargs: Any) -> Any:
            sink = getattr(_active, "sink", None)
            if sink is None or id(self) not in sink[0].calls:
                return plain.__call__(self, *args, **kwargs)
            record, check_calls = sink
            if check_calls:
                _refuse_inner_trace(record, self)
            call, output = _run(plain, self, record, args, kwargs)
            record.calls[id(self)].append(call)
            return output

        # Keeping name and module keeps messages, scopes and saved files as they were.
        namespace = {"__call__": call_and_record, "__module__": plain.__module__}
        namespace["__qualname__"] = plain.__qualname__
        _recording_classes[plain] = type(plain)(plain.__name__, (plain,), namespace)
    return _recording_classes[plain]


def _run(
    plain: Any, layer: Any, record: Recording, args: Any, kwargs: Any
) -> tuple[_Call, Any]:
    taken = args[0] if args else next(iter(kwargs.values()), None)
    if id(layer) not in record.wants_attention:
        output = plain.__call__(layer, *args, **kwargs)
        return _Call(taken, output), output
    asked = kwargs.pop("return_attention_scores", False)
    output, attention = plain.__call__(
        layer, *args, return_attention_scores=True, **kwargs
    )
    if attention is None:
        raise _backend.PlainError(
            f"The attention probabilities of the {record.side}'s layer '{layer.name}' "
            "cannot be had: flash attention does not form them. Build the layer with "
            "`flash_attention=False`, or tap its output."
        )
    # The mask tells which queries are padding, as it does for the layer's output.
    _backend.attach_mask(attention, _backend.mask_of(output))
    return _Call(taken, output, attention), (output, attention) if asked else output


def _refuse_inner_trace(record: Recording, layer: Any) -> None:
    """Raise where `layer` is called inside a loop or a rematerialised block."""
    frame: Any = sys._getframe(2)
    inside = False
    while frame is not None:
        code = frame.f_code
        caller = frame.f_locals.get("self")
        if caller is record.model and not inside:
            return
        if inside and isinstance(caller, keras.layers.Layer) and caller is not layer:
            path = path_of(record.model, caller)
            name = f"'{path}'" if path else "the model's output"
            raise _backend.PlainError(
                f"The {record.side}'s layer '{path_of(record.model, layer)}' cannot be "
                "tapped: it runs inside a loop, a scan, an RNN or a rematerialised "
                f"block, whose values cannot leave it. Tap its parent instead: {name}."
            )
        inside = inside or any(
            code.co_filename.endswith(file) and (names is None or code.co_name in names)
            for file, names in _backend.TRACING_FRAMES
        )
        frame = frame.f_back
