"""Models of every kind, each with a layer to tap and its right value by hand."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

WIDTH = 4
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")


@dataclass
class Case:
    """A model, the tap, and the value that the tap must give for `X`."""

    model: Any
    tap: Any
    value: Any


class Counted(keras.layers.Layer):
    """A dense layer that counts its calls, traced ones too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], WIDTH), name="kernel")

    def call(self, x):
        self.calls += 1
        return x @ self.kernel


class Block(keras.layers.Layer):
    """A layer made of layers, one of them in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = Counted(name="inner_first")
        self.rest = [Counted(name="inner_second")]

    def call(self, x):
        return keras.ops.relu(self.rest[0](self.first(x)))


class Subclassed(keras.Model):
    """A model without a graph."""

    def __init__(self):
        super().__init__()
        self.body = Counted(name="body")
        self.head = keras.layers.Dense(2)

    def call(self, x):
        return self.head(keras.ops.relu(self.body(x)))


class Overridden(keras.Model):
    """A functional model whose call does something that its graph does not show."""

    def call(self, x, training=None):
        return super().call(2.0 * x, training=training) + 1.0


def _by_hand(layer, x):
    return x @ keras.ops.convert_to_numpy(layer.kernel)


def functional():
    inputs = keras.Input((3,))
    tapped = Counted(name="tapped")
    outputs = keras.layers.Dense(2)(keras.layers.ReLU()(tapped(inputs)))
    return Case(keras.Model(inputs, outputs), "tapped", _by_hand(tapped, X))


def sequential():
    tapped = Counted(name="tapped")
    model = keras.Sequential([keras.Input((3,)), tapped, keras.layers.Dense(2)])
    return Case(model, tapped, _by_hand(tapped, X))


def subclassed():
    model = Subclassed()
    model(X)
    return Case(model, "body", _by_hand(model.body, X))


def nested():
    tapped = Counted(name="tapped")
    inner = keras.Sequential([keras.Input((3,)), tapped], name="inner")
    inputs = keras.Input((3,))
    middle = keras.Model(inputs, inner(inputs), name="middle")
    outer = keras.Sequential([keras.Input((3,)), middle, keras.layers.Dense(2)])
    return Case(outer, "middle/inner/tapped", _by_hand(tapped, X))


def sub_layer():
    block = Block(name="block")
    model = keras.Sequential([keras.Input((3,)), block, keras.layers.Dense(2)])
    value = _by_hand(block.rest[0], _by_hand(block.first, X))
    return Case(model, "block/rest[0]", value)


def shared():
    import keras_kd

    inputs, tapped = keras.Input((WIDTH,)), Counted(name="tapped")
    outputs = keras.layers.Dense(2)(tapped(keras.layers.ReLU()(tapped(inputs))))
    x = np.pad(X, ((0, 0), (0, WIDTH - 3)))
    first = _by_hand(tapped, x)
    second = _by_hand(tapped, np.maximum(first, 0))
    case = Case(keras.Model(inputs, outputs), keras_kd.Tap("tapped", call=1), second)
    case.x, case.first = x, first
    return case


def overridden():
    inputs, tapped = keras.Input((3,)), Counted(name="tapped")
    model = Overridden(inputs, keras.layers.Dense(2)(tapped(inputs)))
    return Case(model, "tapped", _by_hand(tapped, 2.0 * X))


CASES = {
    "functional": functional,
    "sequential": sequential,
    "subclassed": subclassed,
    "nested": nested,
    "sub_layer": sub_layer,
    "shared": shared,
    "overridden": overridden,
}
