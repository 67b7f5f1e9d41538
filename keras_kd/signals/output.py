"""What the whole model gives out."""

from typing import Any

import keras

from keras_kd.signals.base import Signal
from keras_kd.signals.recording import Recording


@keras.saving.register_keras_serializable(package="keras_kd")
class Output(Signal):
    """A signal: what the whole model gives out.

    Args:
        key: None for all of it, whatever its structure; the name or the index of an
            output of a model that has several.

    Raises:
        ValueError: If `key` is not None, a string or an integer.

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

    @property
    def reads_outputs(self) -> tuple[str | int | None, ...]:
        return (self.key,)

    def value(self, recording: Recording) -> Any:
        return select_output(
            recording.model, recording.output, self.key, recording.side
        )

    def __repr__(self) -> str:
        return f"Output({self.key!r})"

    def get_config(self) -> dict[str, Any]:
        return {"key": self.key}


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
