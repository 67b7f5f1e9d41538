"""Descriptions: two values that differ have two, and one value has one everywhere."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd
from keras_kd.recipes.description import describe, digest, model_config, weights_digest
from tests.recipes.test_recipes import tokens

ONES = np.ones((2, 3), "float32")


class Own(keras.losses.Loss):
    """A loss that tells its configuration less than it is."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def call(self, y, y_pred):
        return self.scale * y_pred


def scaled(scale):
    return lambda x: scale * x


# Each of these is another value than all the others.
DIFFERENT = [
    [ONES, ONES],
    [np.ones((2, 6), "float32")],
    [np.ones((4, 3), "float32")],
    ONES,
    ONES.astype("int32"),
    ONES.astype("float64"),
    ONES.reshape(3, 2),
    # Shapes that run together without a frame around each.
    [(2, 33), (4,)],
    [(2, 3), (34,)],
    [(2,), (3, 34)],
    ["12"],
    ["1", "2"],
    [12],
    [1, 2],
    [1.0, 2.0],
    [True, 2],
    [None],
    [],
    {"a": 1},
    {"a": "1"},
    {0: 1.0},
    {"0": 1.0},
    np.array(["a", "bc"], object),
    np.array(["ab", "c"], object),
    scaled(1.0),
    scaled(2.0),
    lambda x: x + 1.0,
    lambda x: x + 2.0,
    functools.partial(scaled, 1.0),
    functools.partial(scaled, 2.0),
    Own(1.0),
    Own(2.0),
    keras_kd.LogitsDistillation(2.0),
    keras_kd.LogitsDistillation(4.0),
    keras.optimizers.SGD(0.1),
    keras.optimizers.SGD(0.1, momentum=0.9),
    keras.optimizers.schedules.CosineDecay(0.1, 10),
    keras.optimizers.schedules.CosineDecay(0.1, 20),
]


def test_different_values_have_different_descriptions():
    """Two that fall together are two students, of which one is never trained."""
    found = [digest(value) for value in DIFFERENT]
    assert len(set(found)) == len(DIFFERENT)


def dense(activation, name=None):
    return keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, activation, name=name), layers.Dense(2)]
    )


def test_names_that_keras_makes_up_do_not_count():
    """They depend on what the process has built before."""
    assert model_config(dense("relu")) == model_config(dense("relu"))
    assert model_config(dense("relu")) != model_config(dense("tanh"))
    # A name of one's own does: losses find layers by it.
    assert model_config(dense("relu", "a")) != model_config(dense("relu", "b"))
    assert model_config(tokens()) == model_config(tokens())
    assert digest(Own(1.0)) == digest(Own(1.0))
    assert digest(scaled(1.0)) == digest(scaled(1.0))
    assert describe(keras.optimizers.Adam()) == describe(keras.optimizers.Adam())


def test_weights_are_told_apart_by_their_content():
    """A teacher that learned something else is another teacher."""
    model = dense("relu")
    before = weights_digest(model.weights)
    other = dense("relu")
    other.set_weights(model.get_weights())
    assert weights_digest(other.weights) == before
    kernel, bias, *_ = other.weights
    bias.assign([0.0, 0.0, 1e-30, 0.0])
    assert weights_digest(other.weights) != before
    bias.assign(np.zeros(4))
    assert weights_digest([kernel, bias]) != weights_digest([bias, kernel])


def test_what_a_function_holds_counts():
    """A function as teacher is as good as the model in it."""
    model = dense("relu")

    def teacher(x):
        return model(x)

    before = digest(teacher)
    model.weights[0].assign(model.weights[0] + 1.0)
    assert digest(teacher) != before


class Unserialisable(keras.Model):
    def __init__(self, build):
        super().__init__()
        self.inside = build()

    def call(self, x):
        return self.inside(x)

    def get_config(self):
        raise NotImplementedError


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_model_without_a_configuration_is_known_by_its_layers(activation):
    """A model of one's own need not be one that a file can hold."""
    made, again = (Unserialisable(lambda: dense(activation)) for _ in range(2))
    other = Unserialisable(lambda: dense("elu"))
    assert model_config(made) == model_config(again) != model_config(other)
