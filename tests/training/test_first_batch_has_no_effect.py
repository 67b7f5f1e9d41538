"""The check of the first batch changes nothing, whatever the models hold."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from tests.training.helpers import CROSSENTROPY, classifier, data


@keras.saving.register_keras_serializable("tests")
class Counting(layers.Layer):
    """Counts its calls in a variable, in training and in inference."""

    def build(self, input_shape):
        self.count = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="count"
        )

    def call(self, x):
        self.count.assign_add(1.0)
        return x


def counting(built):
    return keras.Sequential(
        [
            *([keras.Input((4,))] if built else []),
            layers.Dense(5, name="hidden"),
            Counting(name="counting"),
            layers.Dense(3),
        ]
    )


@pytest.mark.parametrize("built", [True, False])
def test_a_student_that_counts_its_calls(built):
    """A counter that is ahead by one shifts every schedule that hangs on it."""
    x, y = data(8)
    student = counting(built)
    distiller = keras_kd.Distiller(
        classifier(6),
        student,
        [
            keras_kd.LogitsDistillation(),
            keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
        ],
    )
    distiller.compile("sgd", CROSSENTROPY)
    distiller.fit(x, y, batch_size=2, verbose=0)
    assert float(student.get_layer("counting").count) == 4.0


@pytest.mark.filterwarnings("ignore:The teacher")
@pytest.mark.parametrize("built", [True, False])
def test_a_teacher_that_counts_its_calls(built):
    """A frozen teacher stands still, also where the first batch builds it."""
    x, y = data(8)
    teacher = counting(built)
    distiller = keras_kd.Distiller(
        teacher, classifier(5), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", CROSSENTROPY)
    distiller.fit(x, y, batch_size=2, verbose=0)
    assert float(teacher.get_layer("counting").count) == 0.0


@pytest.mark.skipif(
    keras.config.backend() == "torch", reason="Keras trains no stateful RNN there"
)
def test_a_stateful_student_starts_from_zeros():
    """From another state the first sequence would be another one."""
    inputs = keras.Input(batch_shape=(2, 3, 4))
    student = keras.Model(inputs, layers.LSTM(3, stateful=True, name="rnn")(inputs))
    teacher = keras.Sequential([keras.Input((3, 4)), layers.Flatten(), layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    plain = keras.models.clone_model(student)
    plain.set_weights(student.get_weights())
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation())
    distiller.compile(keras.optimizers.SGD(0.0), "mse")
    distiller.fit(x, np.zeros((2, 3), "float32"), batch_size=2, verbose=0)
    plain.compile(keras.optimizers.SGD(0.0), "mse")
    plain.fit(x, np.zeros((2, 3), "float32"), batch_size=2, verbose=0)
    for mine, wanted in zip(
        student.get_layer("rnn").states, plain.layers[-1].states, strict=True
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(mine), ops.convert_to_numpy(wanted), rtol=1e-5
        )


def test_a_trained_teacher_with_layers_that_build_nothing():
    """A warning that is false teaches users not to read warnings."""
    x, y = data(8)
    teacher = classifier(6)
    inputs = keras.Input((4,))
    late = layers.Lambda(lambda x: x)
    wrapped = keras.Model(inputs, late(teacher(inputs)))
    late.built = False
    distiller = keras_kd.Distiller(
        wrapped, classifier(5), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", CROSSENTROPY)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        logs = distiller.fit(x, y, verbose=0).history
    assert np.isfinite(logs["distillation_loss"]).all()


class Grouped(keras.Model):
    """Takes batches that can be divided into groups of sixteen."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(3)

    def call(self, x):
        return ops.reshape(ops.reshape(self.head(x), (-1, 16, 3)), (-1, 3))


def test_a_student_that_takes_whole_batches_only():
    """Eight examples of its batch of sixteen are no batch to it."""
    x, y = data(32)
    student = Grouped()
    student(x)
    distiller = keras_kd.Distiller(
        classifier(6), student, keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", CROSSENTROPY)
    logs = distiller.fit(x, y, batch_size=16, verbose=0).history
    assert np.isfinite(logs["distillation_loss"]).all()


def test_compiled_anew_without_a_task_there_is_none():
    """The old loss would go on to teach from labels."""
    x, y = data(8)
    distiller = keras_kd.Distiller(
        classifier(6), classifier(5), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", CROSSENTROPY, metrics=["accuracy"])
    distiller.fit(x, y, verbose=0)
    distiller.compile("sgd")
    logs = distiller.fit(x, verbose=0).history
    assert logs["student_loss"] == [0.0]
    assert "accuracy" not in logs
