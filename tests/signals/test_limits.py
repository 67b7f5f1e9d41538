"""What cannot be tapped says so, and names the parent to tap."""

import keras
import numpy as np
import pytest

import keras_kd

# With features alone, nothing trains the layers above the tap, and Keras says so.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")


class Scanner(keras.layers.Layer):
    """Applies a layer to one time step after the other."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(3, name="inner")

    def build(self, shape):
        self.inner.build((shape[0], shape[2]))

    def call(self, x):
        def step(carry, frame):
            carry = carry + self.inner(frame)
            return carry, carry

        frames = keras.ops.transpose(x, (1, 0, 2))
        carry, _ = keras.ops.scan(step, keras.ops.zeros_like(frames[0]), frames)
        return carry


class Rematerialised(keras.layers.Layer):
    """Computes its inside again in the backward pass."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(3, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return keras.remat(self.inner.__call__)(x)


def recurrent():
    return keras.layers.RNN(keras.layers.SimpleRNNCell(3, name="inner"), name="outer")


def time_distributed():
    inner = keras.layers.Dense(3, name="inner")
    return keras.layers.TimeDistributed(inner, name="outer")


OUTER = {
    "scan": lambda: Scanner(name="outer"),
    "rnn": recurrent,
    "remat": lambda: Rematerialised(name="outer"),
}


def model_of(outer):
    layers = [keras.Input((5, 3)), outer, keras.layers.Flatten(), keras.layers.Dense(2)]
    return keras.Sequential(layers)


@pytest.mark.parametrize("make", OUTER.values(), ids=OUTER.keys())
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "compiled"])
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_inside_of_a_loop_the_error_names_the_parent(make, eager, side):
    """A leaked tracer, or the value of the last step only, would tell nobody why."""
    models = {"teacher": model_of(make()), "student": model_of(make())}
    names = {f"{s}_layer_name": "outer" for s in models}
    names[f"{side}_layer_name"] = "outer/inner"
    loss = keras_kd.FeatureDistillation("mse", **names)
    distiller = keras_kd.Distiller(*models.values(), loss)
    distiller.compile("sgd", run_eagerly=eager)
    with pytest.raises(ValueError, match=f"{side}.*'outer/inner'.*parent.*'outer'"):
        distiller.fit(X, verbose=0)


def test_a_layer_that_its_parent_never_calls_names_the_parent():
    """TimeDistributed runs its layer by other means; the tap would stay empty."""
    models = [model_of(time_distributed()), model_of(time_distributed())]
    loss = keras_kd.FeatureDistillation("mse", "outer/inner", "outer/inner")
    distiller = keras_kd.Distiller(*models, loss)
    distiller.compile("sgd")
    with pytest.raises(ValueError, match="(never called|loop).*'outer'"):
        distiller.fit(X, verbose=0)


@pytest.mark.parametrize("make", OUTER.values(), ids=OUTER.keys())
def test_the_parent_can_be_tapped(make):
    """The way out that the error names must be open."""
    models = [model_of(make()), model_of(make())]
    loss = keras_kd.FeatureDistillation("mse", "outer", "outer")
    distiller = keras_kd.Distiller(*models, loss)
    distiller.compile("sgd")
    history = distiller.fit(X, verbose=0).history
    assert np.isfinite(history["feature_distillation"][0])
