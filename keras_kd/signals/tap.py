"""What one call of a layer takes in or gives out."""

import warnings
from collections.abc import Iterable
from typing import Any

import keras

from keras_kd.signals.attention_layers import may_give_attention
from keras_kd.signals.base import Signal, Watched
from keras_kd.signals.layer_signal import LayerSignal
from keras_kd.signals.recording import Recording

_KINDS = ("output", "input", "attention")


@keras.saving.register_keras_serializable(package="keras_kd")
class Tap(LayerSignal):
    """A signal: what one call of a layer takes in or gives out.

    Args:
        layer: The layer: a path such as "backbone/block_3/relu", or the object.
        call: Which call of a layer that is called several times in a forward pass,
            counted from 0 (negative from the last). With None, the only call; where
            there are several, the first, with a warning.
        of: "output", "input" (the first argument of the call) or "attention" (the
            attention probabilities of a `keras.layers.MultiHeadAttention`, of a
            subclass, or of a layer that takes `return_attention_scores` as it does;
            of shape `(batch, heads, queries, keys)`).

    Raises:
        ValueError: If an argument is not one of these.

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
        super().__init__(layer)
        self.call = call
        self.of = of

    def check_layer(self, layer: keras.layers.Layer, *, side: str) -> None:
        if self.of == "attention" and not may_give_attention(layer):
            raise ValueError(
                "Attention probabilities come from a `keras.layers.MultiHeadAttention` "
                "or `keras.layers.GroupQueryAttention`, a subclass, or a layer that "
                "takes their argument `return_attention_scores`. Received: the "
                f"{side}'s layer '{layer.name}' of type {type(layer).__name__}. Where "
                "it attends, compare its queries, keys and values by "
                "`keras_kd.losses.AttentionRelationDistillation`."
            )

    def watched(self, model: Any, *, side: str) -> Iterable[Watched]:
        return [Watched(self.find(model, side=side), self.of)]

    def value(self, recording: Recording) -> Any:
        layer = self.find(recording.model, side=recording.side)
        calls = recording.calls_of(layer)
        if self.call is None and len(calls) > 1 and recording.first_batch:
            warnings.warn(
                f"The {recording.side}'s layer '{layer.name}' is called {len(calls)} "
                "times in a forward pass; the first call is taken. Say which by "
                "`keras_kd.Tap(layer, call=...)`.",
                stacklevel=2,
            )
        place = 0 if self.call is None else self.call
        if not -len(calls) <= place < len(calls):
            raise ValueError(
                f"`call` must be below the number of calls of the layer "
                f"'{layer.name}' of the {recording.side}, {len(calls)}. "
                f"Received: {self}"
            )
        return getattr(calls[place], self.of)

    def __repr__(self) -> str:
        name = self.layer if isinstance(self.layer, str) else self.layer.name
        return f"Tap({name!r}, call={self.call}, of={self.of!r})"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "call": self.call, "of": self.of}


def as_signal(address: Any) -> Signal:
    """Return a signal as it is, and a layer's address as a `Tap`.

    Args:
        address: A signal, a path or a layer object.

    Returns:
        The signal.

    Raises:
        ValueError: If `address` is not one of these.

    Example:
    >>> as_signal("block_3")
    Tap('block_3', call=None, of='output')
    """
    return address if isinstance(address, Signal) else Tap(address)
