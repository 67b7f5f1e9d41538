"""The base of all signals, and how one says what a forward pass must record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from keras_kd.signals.recording import Recording


@dataclass(frozen=True)
class Watched:
    """Something of a layer that a forward pass must record.

    Args:
        layer: The layer.
        of: "output", "input" (the first argument of its call), "attention" (its
            attention probabilities) or "weights" (the value of an attribute).
        attribute: The name of the attribute, for "weights".

    Example:
    >>> Watched(keras.layers.ReLU(), "input").of
    'input'
    """

    layer: keras.layers.Layer
    of: str = "output"
    attribute: str | None = None


class Signal:
    """Base class of what a loss reads of one side, the teacher or the student.

    A signal is plain data that users copy and save. To write one, override `value`
    and, where it has arguments, `get_config`; register it by
    `keras.saving.register_keras_serializable` where a loss that holds it is saved. A
    signal that is computed from others lists them in `parts`; that is all which most
    signals need. One that reads something else of a layer overrides `watched`.

    Example:
    >>> class Difference(Signal):
    ...     '''How much a block adds to what goes in.'''
    ...
    ...     def __init__(self, block):
    ...         self.block = block
    ...         self.parts = [Tap(block), Tap(block, of="input")]
    ...
    ...     def value(self, recording):
    ...         after, before = (part.value(recording) for part in self.parts)
    ...         return after - before
    ...
    ...     def get_config(self):
    ...         return {"block": self.block}
    >>> loss = FeatureDistillation("mse", Difference("block_3"), Difference("block_1"))
    """

    parts: Sequence["Signal"] = ()
    """The signals that this one is computed from."""

    per_example: bool = True
    """Whether the first axis of the value is the batch.

    Elsewhere sample weights and masks, which say what is left out, have no place.
    """

    @property
    def reads_outputs(self) -> tuple[str | int | None, ...]:
        """The outputs of the model that the signal reads: keys, or None for all.

        Empty for a signal of the inside of a model. Sample weights that each output
        has of its own are chosen by it.
        """
        keys = [key for part in self.parts for key in part.reads_outputs]
        return tuple(dict.fromkeys(keys))

    def bind(self, model: Any, *, side: str) -> None:
        """Find what the signal needs in the model.

        What it finds is kept outside of the signal, see `LayerSignal`.

        Args:
            model: The teacher or the student.
            side: "teacher" or "student", for messages.

        Raises:
            ValueError: If the model does not have it.
        """
        for part in self.parts:
            part.bind(model, side=side)

    def watched(self, model: Any, *, side: str) -> Iterable[Watched]:
        """List what a forward pass of the model must record for the signal.

        Args:
            model: The teacher or the student.
            side: "teacher" or "student", for messages.

        Returns:
            What to record; nothing for a signal of the model's outputs.
        """
        return [w for part in self.parts for w in part.watched(model, side=side)]

    def value(self, recording: "Recording") -> Any:
        """Return the signal of a forward pass.

        Args:
            recording: What the forward pass left behind. All that depends on the step
                must come from it, or from the values of `parts`: a variable of the
                model that is read here instead would keep its first value in a
                compiled step.

        Returns:
            A tensor, or a structure of tensors.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override `value(recording)`."
        )

    def spec(self, value: Any) -> Any:
        """Return the shape and dtype of a value, where it has one with any batch size.

        Args:
            value: What `value` returned.

        Returns:
            `keras.KerasTensor`s in the value's structure, None where it has None.
        """
        return keras.tree.map_structure(self._spec, value)

    def _spec(self, value: Any) -> Any:
        if value is None:
            return None
        shape = tuple(value.shape)
        batched = (None, *shape[1:]) if shape and self.per_example else shape
        dtype = keras.backend.standardize_dtype(value.dtype)
        return keras.KerasTensor(batched, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the signal, as JSON."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return the signal that `get_config` described."""
        return cls(**config)
