"""What a layer produced during a forward pass that happens anyway.

A tapped layer is given, for the time of one forward pass, a subclass of its own class
whose `__call__` also notes what went in and what came out. Nothing is rebuilt and
nothing runs twice: nested models, sub-layers of blocks, shared layers and models that
override `call` are all reached, compiled or not.
"""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.signals.attention_layers import has_scores_argument
from keras_kd.signals.base import Signal, Watched
from keras_kd.signals.layer_paths import path_of


@dataclass
class Call:
    """One call of a tapped layer."""

    input: Any
    output: Any
    attention: Any = None


@dataclass
class Recording:
    """What one forward pass left behind.

    Attributes:
        model: The model that ran.
        side: "teacher" or "student".
        output: What the model gave out, whatever its structure.
        calls: The recorded calls of each watched layer, by the id of the layer.
        weights: The values of watched weights, by the layer's id and the attribute.
        attention: The probabilities of a call that is running, by the layer's id.
        wants_attention: The ids of the layers whose attention is recorded.
        first_batch: Whether this is the check of the first batch, which may warn.
    """

    model: Any
    side: str
    output: Any = None
    calls: dict[int, list[Call]] = field(default_factory=dict)
    weights: dict[tuple[int, str | None], Any] = field(default_factory=dict)
    attention: dict[int, Any] = field(default_factory=dict)
    wants_attention: frozenset[int] = frozenset()
    first_batch: bool = False

    def calls_of(self, layer: keras.layers.Layer) -> list[Call]:
        """Return the recorded calls of a layer, in their order.

        Raises:
            ValueError: If the layer was never called.
        """
        calls = self.calls.get(id(layer), [])
        if not calls:
            raise ValueError(
                f"The {self.side}'s layer '{layer.name}' was never called in the "
                "forward pass, so that it cannot be tapped. Its parent runs it by "
                "other means, as `TimeDistributed` does, or not at all: tap "
                f"{_parent(self.model, layer)} instead."
            )
        return calls

    def weights_of(self, layer: keras.layers.Layer, attribute: str) -> Any:
        """Return the value that a weight of a layer has in this step."""
        return self.weights[id(layer), attribute]


def _parent(model: Any, layer: Any) -> str:
    path = path_of(model, layer) or ""
    parent = path.rpartition("/")[0]
    return f"its parent '{parent}'" if parent else "the model's output"


_lock = threading.Lock()
_users: dict[int, int] = {}
_plain_class: dict[int, type] = {}
_recording_classes: dict[type, type] = {}
# A swapped `__call__` gets the arguments of the layer and no others, and replicas of
# `tf.distribute` call one layer from several threads, each for a step of its own.
_active = threading.local()


@contextmanager
def recording(
    model: Any, requests: Iterable[Signal], *, side: str, check_calls: bool = False
) -> Iterator[Recording]:
    """Record the tapped layers of `model` during the forward pass inside the scope.

    Args:
        model: The model whose forward pass runs inside.
        requests: The signals that will ask the recording for their values.
        side: "teacher" or "student", for messages.
        check_calls: Whether to look, at every recorded call, for a loop or a
            rematerialised block around it, whose values cannot leave it.
    """
    watched = [w for r in requests for w in r.watched(model, side=side)]
    layers = {id(w.layer): w.layer for w in watched if w.of != "weights"}
    record = Recording(
        model,
        side,
        calls={key: [] for key in layers},
        wants_attention=frozenset(id(w.layer) for w in watched if w.of == "attention"),
        first_batch=check_calls,
    )
    outer = getattr(_active, "sink", None)
    _active.sink = (record, check_calls)
    swapped = []
    try:
        for layer in layers.values():
            _start_recording(layer)
            swapped.append(layer)
        yield record
        # Here, where variables still have the values of the step.
        record.weights = {
            (id(w.layer), w.attribute): _weight(w, side)
            for w in watched
            if w.attribute is not None
        }
    finally:
        _active.sink = outer
        for layer in swapped:
            _stop_recording(layer)


def as_recording(given: Any, teacher: Any) -> Recording:
    """Return what a teacher's `signals` gave, where it is a recording.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(given, Recording):
        return given
    raise ValueError(
        f"`signals` of {type(teacher).__name__} must return a "
        f"keras_kd.signals.Recording. Received: {type(given).__name__}. Return "
        '`keras_kd.signals.Recording(None, "teacher", output=...)`.'
    )


def reads_inside(requests: Iterable[Signal], model: Any, *, side: str) -> bool:
    """Say whether any signal reads more of a forward pass than the model's outputs."""
    return any(list(request.watched(model, side=side)) for request in requests)


def _weight(watched: Watched, side: str) -> Any:
    value = ops.convert_to_tensor(getattr(watched.layer, str(watched.attribute)))
    return ops.stop_gradient(value) if side == "teacher" else value


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
        namespace = {
            **_backend.noting_attention(plain, _wants_note, _note_attention),
            "__call__": call_and_record,
            "__module__": plain.__module__,
        }
        namespace["__qualname__"] = plain.__qualname__
        _recording_classes[plain] = type(plain)(plain.__name__, (plain,), namespace)
    return _recording_classes[plain]


def _run(
    plain: Any, layer: Any, record: Recording, args: Any, kwargs: Any
) -> tuple[Call, Any]:
    taken = args[0] if args else next(iter(kwargs.values()), None)
    if id(layer) not in record.wants_attention:
        output = plain.__call__(layer, *args, **kwargs)
        return Call(taken, output), output
    if has_scores_argument(layer):
        output, attention = _with_scores(plain, layer, record, args, kwargs)
    else:
        output = plain.__call__(layer, *args, **kwargs)
        attention = record.attention.pop(id(layer), None)
    if attention is None:
        raise _no_attention(record, layer)
    # The mask tells which queries are padding, as it does for the layer's output.
    answer = output[0] if isinstance(output, tuple) else output
    _backend.attach_mask(attention, _backend.mask_of(answer))
    return Call(taken, output, attention), output


def _with_scores(
    plain: Any, layer: Any, record: Recording, args: Any, kwargs: Any
) -> tuple[Any, Any]:
    """Call an attention layer; return what the caller wants, and the probabilities."""
    asked = kwargs.pop("return_attention_scores", False)
    try:
        result = plain.__call__(layer, *args, return_attention_scores=True, **kwargs)
    except ValueError as error:
        if "flash attention is enabled" in str(error):
            raise _no_attention(record, layer) from error
        raise
    output, attention, *more = result  # a cache of keys and values, for KerasHub
    wanted = [output, *([attention] if asked else []), *more]
    return tuple(wanted) if len(wanted) > 1 else output, attention


def _wants_note(layer: Any) -> bool:
    sink = getattr(_active, "sink", None)
    wanted = sink is not None and id(layer) in sink[0].wants_attention
    return wanted and not has_scores_argument(layer)


def _note_attention(layer: Any, attention: Any) -> None:
    _active.sink[0].attention[id(layer)] = attention


def _no_attention(record: Recording, layer: Any) -> _backend.PlainError:
    return _backend.PlainError(
        f"The attention probabilities of the {record.side}'s layer "
        f"'{path_of(record.model, layer)}' cannot be had: it computes its output in "
        "one fused operation (flash attention), which does not form them. Build the "
        "layer with `flash_attention=False` where it has this argument, or compare the "
        "queries, keys and values by `keras_kd.losses.AttentionRelationDistillation`."
    )


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
