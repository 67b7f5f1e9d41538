"""Small models of known outputs, one-step fits, and the arithmetic of the losses."""

from typing import Any

import keras
import numpy as np

from keras_kd.losses import stock as stock_losses

BACKEND = keras.config.backend()

# What we compare with: the distillation that Keras itself ships.
peer = keras.distillation


def repaired(temperature: float = 3.0) -> Any:
    """Return the peer's logits loss with softmax and T², which its default lacks."""
    return peer.LogitsDistillation(temperature, loss=keras.losses.KLDivergence())


def default(temperature: float = 3.0) -> Any:
    """Return the peer's logits loss as its documentation shows it."""
    return peer.LogitsDistillation(temperature)


def forget_warnings() -> None:
    """Let the next Distiller of ours warn again of the peer's default."""
    stock_losses._warned.clear()


def linear(kernel: Any, bias: Any = 0.0, **kwargs: Any) -> keras.Sequential:
    """Return the model x · kernel + bias, with these very weights."""
    kernel = np.asarray(kernel, "float32")
    bias = np.broadcast_to(np.asarray(bias, "float32"), kernel.shape[1:])
    model = keras.Sequential(
        [keras.Input(kernel.shape[:1]), keras.layers.Dense(kernel.shape[1])], **kwargs
    )
    model.set_weights([kernel, bias])
    return model


def shifted(by: Any, classes: int = 3, **kwargs: Any) -> keras.Sequential:
    """Return the model x + by: its logits are its inputs, moved."""
    return linear(np.eye(classes), by, **kwargs)


def mlp(width: int, *, inputs: int = 4, classes: int = 3, seed: int = 0) -> Any:
    """Return a functional model with the layers "hidden" and "logits"."""
    x = keras.Input((inputs,))
    h = keras.layers.Dense(width, "tanh", name="hidden")(x)
    return randomised(
        keras.Model(x, keras.layers.Dense(classes, name="logits")(h)), seed
    )


def randomised(model: Any, seed: int) -> Any:
    """Return the model with random weights that are the same on every backend."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape, scale=0.7) for w in weights_of(model)])
    return model


def features_of(model: Any, x: Any) -> np.ndarray:
    """Return what the layer "hidden" of an `mlp` gives for x."""
    kernel, bias = model.get_layer("hidden").get_weights()
    return np.tanh(x @ kernel + bias)


def batch(size: int = 8, inputs: int = 4, classes: int = 3) -> tuple[Any, Any]:
    """Return the inputs and integer labels of one batch."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(size, inputs)).astype("float32")
    return x, rng.integers(0, classes, size).astype("int32")


def crossentropy() -> keras.losses.Loss:
    """Return the task loss of a classifier that gives logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def one_step(
    distiller: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Any = "given",
    learning_rate: float = 0.0,
    metrics: Any = None,
    **fit: Any,
) -> dict[str, float]:
    """Compile with SGD, fit one batch, and return the logs.

    With the learning rate 0 the logs are of weights that are still there; with 1 the
    change of the weights is minus the gradient.
    """
    distiller.compile(
        keras.optimizers.SGD(learning_rate),
        crossentropy() if loss == "given" else loss,
        metrics,
    )
    size = len(keras.tree.flatten(x)[0])
    history = distiller.fit(x, y, batch_size=size, shuffle=False, verbose=0, **fit)
    return {name: values[-1] for name, values in history.history.items()}


def predict(model: Any, x: Any) -> Any:
    """Return the outputs of a model in inference, as arrays."""
    outputs = model(keras.tree.map_structure(keras.ops.convert_to_tensor, x))
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def softmax(logits: Any) -> np.ndarray:
    """Return softmax over the last axis, in float64."""
    logits = np.asarray(logits, "float64")
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def kl(teacher: Any, student: Any, temperature: float = 3.0) -> np.ndarray:
    """Return T² · KL(softmax(t/T) ‖ softmax(s/T)) per example, in float64."""
    p = softmax(np.asarray(teacher, "float64") / temperature)
    q = softmax(np.asarray(student, "float64") / temperature)
    return temperature**2 * np.sum(p * np.log(p / q), axis=-1)


def task(logits: Any, y: Any) -> np.ndarray:
    """Return the cross-entropy with integer labels, per example."""
    return -np.log(softmax(logits)[np.arange(len(y)), y])


def weights_of(model: Any) -> list[np.ndarray]:
    """Return copies of all weights."""
    return [np.array(weight) for weight in model.get_weights()]
