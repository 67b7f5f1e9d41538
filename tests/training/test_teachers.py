"""Every kind of teacher, and students that are built late."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    CLASSES,
    FEATURES,
    assert_same,
    classifier,
    crossentropy,
    data,
    distil,
    fit_steps,
    outputs,
    soft_targets,
    values_of,
)

X, Y = data()
MATRIX = np.random.default_rng(5).normal(size=(FEATURES, CLASSES)).astype("float32")


def a_layer():
    layer = keras.layers.Dense(CLASSES)
    layer.build((None, FEATURES))
    layer.set_weights([MATRIX, np.zeros(CLASSES)])
    return layer


def a_function():
    return lambda x: keras.ops.matmul(x, MATRIX)


def a_function_with_training():
    def teacher(x, training=None):
        assert training is False
        return keras.ops.matmul(x, MATRIX)

    return teacher


def a_model():
    return keras.Sequential([keras.Input((FEATURES,)), a_layer()])


@pytest.mark.parametrize(
    "make", [a_model, a_layer, a_function, a_function_with_training]
)
def test_what_answers_can_teach(make):
    """A served model, or a layer of a larger one, would have to become a Model."""
    teacher, student = make(), classifier()
    s = outputs(student, X)
    distiller = distil(teacher, student, rate=0.1)
    history = fit_steps(distiller, X, Y, validation_data=(X, Y))
    kd = soft_targets(X @ MATRIX, s, 2.0).mean()
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-4)
    kd = soft_targets(X @ MATRIX, outputs(student, X), 2.0).mean()
    np.testing.assert_allclose(history["val_distillation_loss"], [kd], rtol=1e-4)
    assert distiller.teacher is teacher


class Confidence(keras_kd.DistillationLoss):
    """The negative entropy of the student's own answer."""

    def teacher_signals(self):
        return None

    def call(self, teacher, student, step):
        assert teacher is None
        log_p = keras.ops.log_softmax(student)
        return keras.ops.sum(keras.ops.exp(log_p) * log_p, axis=-1)


def test_a_loss_on_the_student_alone_needs_no_teacher():
    """Self-distillation would run a teacher for nothing."""
    student = classifier()
    log_p = np.log(np.exp(s := outputs(student, X)).sum(-1, keepdims=True))
    log_p = s - log_p
    expected = (np.exp(log_p) * log_p).sum(-1).mean()
    history = fit_steps(distil(None, student, Confidence()), X, Y)
    np.testing.assert_allclose(history["confidence"], [expected], rtol=1e-5)
    total = 0.5 * expected + 0.5 * crossentropy(Y, s).mean()
    np.testing.assert_allclose(history["loss"], [total], rtol=1e-5)


def test_without_a_teacher_a_loss_that_reads_it_is_refused():
    """The error would come from inside the first compiled step."""
    with pytest.raises(ValueError, match="`teacher` must be given"):
        distil(None, classifier())


def test_a_layer_shared_with_the_teacher_belongs_to_the_student():
    """A frozen embedding used by both would stop training, or train the teacher."""
    shared = keras.layers.Dense(6, activation="tanh", name="shared")
    x = keras.Input((FEATURES,))
    teacher = keras.Model(x, keras.layers.Dense(CLASSES, name="of_teacher")(shared(x)))
    student = keras.Model(x, keras.layers.Dense(CLASSES, name="of_student")(shared(x)))
    head = teacher.get_layer("of_teacher")
    before = values_of(head.variables), values_of(shared.variables)
    t, s = outputs(teacher, X), outputs(student, X)
    distiller = distil(teacher, student, rate=0.5)
    first = fit_steps(distiller, X, Y)["distillation_loss"]
    np.testing.assert_allclose(first, [soft_targets(t, s, 2.0).mean()], rtol=1e-5)
    assert_same(before[0], values_of(head.variables))
    assert (before[1][0] != values_of(shared.variables)[0]).any()
    # The teacher answers with the shared layer as it is now.
    t, s = outputs(teacher, X), outputs(student, X)
    second = fit_steps(distiller, X, Y)["distillation_loss"]
    np.testing.assert_allclose(second, [soft_targets(t, s, 2.0).mean()], rtol=1e-5)


def test_new_weights_of_the_teacher_reach_the_compiled_step():
    """A teacher loaded or trained between two fits would answer with old weights."""
    teacher, student = a_model(), classifier()
    distiller = distil(teacher, student)
    fit_steps(distiller, X, Y)
    teacher.set_weights([-2.0 * MATRIX, np.ones(CLASSES)])
    expected = soft_targets(-2.0 * X @ MATRIX + 1, outputs(student, X), 2.0).mean()
    found = fit_steps(distiller, X, Y)["distillation_loss"]
    np.testing.assert_allclose(found, [expected], rtol=1e-4)


class Subclassed(keras.Model):
    """A student that is built by its first batch."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(5, activation="tanh")
        self.dropout = keras.layers.Dropout(0.2)
        self.head = keras.layers.Dense(CLASSES)

    def call(self, x, training=None):
        return self.head(self.dropout(self.hidden(x), training=training))


def test_a_subclassed_student_is_built_by_its_first_batch():
    """Models that are no graph of layers would have to be built by hand."""
    student = Subclassed()
    losses = [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    ]
    distiller = distil(classifier(7), student, losses, rate=0.1)
    fit_steps(distiller, X, Y, validation_data=(X, Y))
    before = values_of(student.trainable_variables)
    fit_steps(distiller, X, Y)
    after = values_of(student.trainable_variables)
    assert len(after) == 4
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_an_unbuilt_teacher_is_worth_a_warning():
    """A teacher whose weights were never loaded teaches noise."""
    with pytest.warns(UserWarning, match="had no weights"):
        fit_steps(distil(Subclassed(), classifier()), X, Y)


def test_parts_of_the_student_can_be_frozen():
    """Fine-tuning a part would train, or lose, the rest."""
    student = classifier()
    student.get_layer("hidden").trainable = False
    before = values_of(student.variables)
    fit_steps(distil(classifier(7), student, rate=0.5), X, Y, steps=2)
    after = values_of(student.variables)
    assert_same(before[:2], after[:2])
    assert (before[2] != after[2]).any()
