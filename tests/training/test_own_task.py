"""A student that has a task of its own: it trains on it, or the user is told."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from tests.training.helpers import classifier, data


class Detector(keras.Model):
    """Computes its task loss itself, from what it was compiled with."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        return self.head(x)

    def compile(self, scale=None, **kwargs):
        super().compile(**kwargs)
        self.scale = scale

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return self.scale * ops.mean(ops.square(y_pred - ops.one_hot(y, 3)))


class Stepping(keras.Model):
    """Trains by a step of its own."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(3)

    def call(self, x):
        return self.head(x)

    def train_step(self, *args):
        raise AssertionError("not run by a Distiller")


def test_a_compute_loss_of_its_own_is_the_task():
    """A detector that trains with a task loss of 0 forgets what it detects."""
    x, y = data(8)
    student = Detector()
    student.compile(scale=2.0)
    distiller = keras_kd.Distiller(
        classifier(6), student, keras_kd.LogitsDistillation()
    )
    distiller.compile(keras.optimizers.SGD(0.0))
    logs = distiller.fit(x, y, verbose=0).history
    wanted = 2.0 * np.square(ops.convert_to_numpy(student(x)) - np.eye(3)[y]).mean()
    assert logs["student_loss"][0] == pytest.approx(wanted, rel=1e-5)


def test_one_that_was_not_compiled_is_refused():
    distiller = keras_kd.Distiller(
        classifier(6), Detector(), keras_kd.LogitsDistillation()
    )
    with pytest.raises(ValueError, match="`student` must be compiled.*Detector"):
        distiller.compile("sgd")


def test_a_train_step_of_its_own_is_not_passed_over():
    """What a `train_step` does beside the loss would be lost without a word."""
    x, y = data(8)
    distiller = keras_kd.Distiller(
        classifier(6), Stepping(), keras_kd.LogitsDistillation()
    )
    with pytest.raises(ValueError, match="`loss` must be given.*Stepping"):
        distiller.compile("sgd")
    distiller.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    distiller.fit(x, y, verbose=0)
