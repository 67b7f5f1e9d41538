"""The part that signals of one layer share."""

import weakref
from typing import Any

import keras

from keras_kd.signals.base import Signal
from keras_kd.signals.layer_paths import find_layer, path_of

# Which layer of which model a signal stands for. Kept outside of the signals, which
# are plain data that users copy and save.
_found: weakref.WeakKeyDictionary[
    Signal, weakref.WeakKeyDictionary[Any, weakref.ref[Any]]
] = weakref.WeakKeyDictionary()


class LayerSignal(Signal):
    """Base class of a signal of one layer, which is given by its path or as object.

    Args:
        layer: The layer: a path such as "backbone/block_3/relu", or the object.

    Raises:
        ValueError: If `layer` is neither.
    """

    def __init__(self, layer: Any) -> None:
        is_path = isinstance(layer, str) and bool(layer)
        if not is_path and not isinstance(layer, keras.layers.Layer):
            raise ValueError(
                "`layer` must be the path of a layer or a `keras.layers.Layer`. "
                f"Received: layer={layer!r} (of type {type(layer).__name__})"
            )
        self.layer = layer
        self._path: str | None = layer if isinstance(layer, str) else None

    def find(self, model: Any, *, side: str) -> keras.layers.Layer:
        """Return the layer inside `model`, and remember it.

        Args:
            model: The teacher or the student.
            side: "teacher" or "student", for messages.

        Returns:
            The layer.

        Raises:
            ValueError: If the model has no such layer, or `check_layer` refuses it.
        """
        # Searching a deep model takes longer than a small eager step may.
        found = _found.setdefault(self, weakref.WeakKeyDictionary())
        kept = found[model]() if model in found else None
        if kept is not None:
            return kept
        layer = find_layer(model, self.layer, side=side)
        self.check_layer(layer, side=side)
        self._path = path_of(model, layer)
        found[model] = weakref.ref(layer)
        return layer

    def check_layer(self, layer: keras.layers.Layer, *, side: str) -> None:
        """Raise where the layer cannot give the signal.

        Args:
            layer: The layer that was found.
            side: "teacher" or "student", for messages.

        Raises:
            ValueError: If it cannot.
        """

    def bind(self, model: Any, *, side: str) -> None:
        self.find(model, side=side)

    def get_config(self) -> dict[str, Any]:
        path = self._path if self._path is not None else self.layer.name
        return {"layer": path}
