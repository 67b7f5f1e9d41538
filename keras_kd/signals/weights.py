"""What a layer has learned, as of this step."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_kd.signals.base import Watched
from keras_kd.signals.layer_signal import LayerSignal
from keras_kd.signals.recording import Recording


@keras.saving.register_keras_serializable(package="keras_kd")
class Weights(LayerSignal):
    """A signal: the value of a layer's weight in this step.

    With gradient on the student's side, without on the teacher's. For losses that
    compute with a classifier themselves, or that compare the weights of two models.

    Args:
        layer: The layer: a path such as "backbone/head", or the object.
        attribute: The name of the layer's attribute that holds the weight, such as
            "kernel", "bias" or "embeddings". With LoRA this is the sum.

    Raises:
        ValueError: If an argument is not one of these.

    Example:
    >>> weights = Weights("head", "kernel")
    >>> weights.layer, weights.attribute
    ('head', 'kernel')
    """

    per_example = False

    def __init__(self, layer: Any, attribute: str = "kernel") -> None:
        if not isinstance(attribute, str) or not attribute.isidentifier():
            raise ValueError(
                "`attribute` must be the name of the attribute that holds the weight, "
                f"such as 'kernel'. Received: attribute={attribute!r}"
            )
        super().__init__(layer)
        self.attribute = attribute

    def check_layer(self, layer: keras.layers.Layer, *, side: str) -> None:
        value: Any = getattr(layer, self.attribute, None)
        if isinstance(value, keras.Variable) or ops.is_tensor(value):
            if keras.backend.is_float_dtype(value.dtype):
                return
            raise ValueError(
                f"`attribute` must name a weight of floating point. Received: "
                f"'{self.attribute}' of the {side}'s layer '{layer.name}', of dtype "
                f"{keras.backend.standardize_dtype(value.dtype)}. Is the layer "
                "quantized? Give the model as it was before."
            )
        names = [v.name for v in layer.variables if hasattr(layer, v.name)]
        known = ", ".join(f"'{name}'" for name in dict.fromkeys(names))
        raise ValueError(
            f"`attribute` must name a weight of the {side}'s layer '{layer.name}': "
            + (known or "it has none yet; build the model by calling it on a batch")
            + f". Received: attribute={self.attribute!r}"
        )

    def watched(self, model: Any, *, side: str) -> Iterable[Watched]:
        return [Watched(self.find(model, side=side), "weights", self.attribute)]

    def value(self, recording: Recording) -> Any:
        layer = self.find(recording.model, side=recording.side)
        return recording.weights_of(layer, self.attribute)

    def __repr__(self) -> str:
        name = self.layer if isinstance(self.layer, str) else self.layer.name
        return f"Weights({name!r}, {self.attribute!r})"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "attribute": self.attribute}
