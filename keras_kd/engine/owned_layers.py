"""The layers and variables that are trained or kept beside the student."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_kd import _backend


class OwnedLayers(keras.layers.Layer):
    """Holds projectors and memories of the losses, and the state of a teacher.

    Here Keras finds them and the student does not. Most appear when the first batch
    has shown the shapes, which is after the Distiller may have been called and closed
    for new state; this layer stays open.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.built = True
        # A copy of a trained layer stays as it is where the Distiller is thawed.
        self._still: set[int] = set()

    @property
    def trainable(self) -> bool:
        """Whether the layers train, apart from those that were held as frozen ones."""
        return bool(super().trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        for layer, _ in _backend.children(self):
            if id(layer) in self._still:
                _backend.freeze(layer)

    def hold(self, layers: dict[str, keras.layers.Layer]) -> None:
        """Track the layers, each under its name.

        An attribute for each, because torch clears the gradients of attributes only.
        """
        for name, layer in layers.items():
            if self.__dict__.get(name) is not layer:
                setattr(self, name, layer)
                if not layer.trainable:
                    self._still.add(id(layer))

    def hold_state(self, variables: Iterable[keras.Variable]) -> None:
        """Track the variables that a teacher changes after each update.

        Raises:
            ValueError: If the optimizer would train one.
        """
        for index, variable in enumerate(variables):
            if variable.trainable:
                raise ValueError(
                    "`state` of a teacher must hold variables that are not trained. "
                    f"Received: {variable.path!r}, trainable. Make it by "
                    "`keras.Variable(..., trainable=False)`."
                )
            name = f"state_{index}"
            if self.__dict__.get(name) is not variable:
                setattr(self, name, variable)

    def call(self, inputs: Any) -> Any:
        """Return the inputs: the layers are called by their losses."""
        return inputs
