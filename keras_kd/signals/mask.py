"""Which examples or tokens of another signal are valid."""

from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.base import Signal
from keras_kd.signals.output import Output
from keras_kd.signals.recording import Recording
from keras_kd.signals.tap import as_signal


@keras.saving.register_keras_serializable(package="keras_kd")
class Mask(Signal):
    """A signal: the Keras mask of another signal, None where it has none.

    The Distiller applies the masks of all signals that a loss compares by itself. This
    is for a loss that needs the mask of something else: of the embedded tokens, say,
    where a later layer has dropped it.

    Args:
        signal: The other signal, or the path or object of a layer whose output it is.
            None for the model's output.

    Raises:
        ValueError: If `signal` is not one of these.

    Example:
    >>> Mask("embedding").parts
    [Tap('embedding', call=None, of='output')]
    """

    def __init__(self, signal: Any = None) -> None:
        self.signal = Output() if signal is None else as_signal(signal)
        self.parts = [self.signal]

    def value(self, recording: Recording) -> Any:
        value = self.signal.value(recording)
        return keras.tree.map_structure(_backend.mask_of, value)

    def __repr__(self) -> str:
        return f"Mask({self.signal!r})"

    def get_config(self) -> dict[str, Any]:
        return {"signal": keras.saving.serialize_keras_object(self.signal)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Mask":
        return cls(keras.saving.deserialize_keras_object(config["signal"]))
