"""What the logs say, with and without labels, in training and in evaluation."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    CLASSES,
    FEATURES,
    assert_same,
    compiled,
    counted_classifier,
    crossentropy,
    data,
    distil,
    fit_steps,
    outputs,
    pair,
    soft_targets,
    values_of,
)

X, Y = data()


def losses():
    return [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.LogitsDistillation(4.0),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    ]


def stateful(width):
    """Return a model with statistics, seeds, and both kinds of penalties."""
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(width, kernel_regularizer="l2", name="hidden"),
            keras.layers.BatchNormalization(),
            keras.layers.ActivityRegularization(l2=0.1),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(CLASSES),
        ]
    )


def test_the_total_is_the_sum_of_its_parts():
    """Nobody could tell from the logs what the student was trained on."""
    distiller = distil(*pair(), losses(), 0.1, distillation_loss_weights=[1, 0.5, 3])
    distiller.student_loss_weight = 0.3
    logs = distiller.fit(
        X, Y, batch_size=3, epochs=2, validation_data=(X, Y), verbose=0
    ).history
    for prefix in ("", "val_"):
        part = {k: np.array(logs[prefix + k]) for k in logs if not k.startswith("val_")}
        kd = (
            part["logits_distillation"]
            + 0.5 * part["logits_distillation_2"]
            + 3 * part["feature_distillation"]
        )
        np.testing.assert_allclose(part["distillation_loss"], kd, rtol=1e-5)
        total = 0.3 * part["student_loss"] + 0.7 * kd
        np.testing.assert_allclose(part["total_loss"], total, rtol=1e-5)
        np.testing.assert_allclose(part["loss"], part["total_loss"], rtol=1e-6)


def test_metrics_of_unequal_batches_are_those_of_all_examples():
    """A short last batch would count as much as a full one."""
    teacher, student = pair()
    distiller = distil(teacher, student)
    t, s = outputs(teacher, X), outputs(student, X)
    found = distiller.fit(X, Y, batch_size=3, verbose=0).history
    evaluated = distiller.evaluate(X, Y, batch_size=5, verbose=0, return_dict=True)
    kd, task = soft_targets(t, s, 2.0).mean(), crossentropy(Y, s).mean()
    for logs in (found, evaluated):
        np.testing.assert_allclose(np.ravel(logs["distillation_loss"]), kd, rtol=1e-5)
        np.testing.assert_allclose(np.ravel(logs["student_loss"]), task, rtol=1e-5)


def test_penalties_of_the_student_are_in_the_total():
    """A regulariser would silently do nothing, or be scaled by the loss weights."""
    teacher, student = stateful(7), stateful(5)
    distiller = distil(teacher, student, student_loss_weight=0.25)
    logs = distiller.evaluate(X, Y, verbose=0, return_dict=True)
    student(X, training=False)
    penalty = sum(keras.ops.convert_to_numpy(loss) for loss in student.losses)
    assert penalty > 0.01
    t, s = outputs(teacher, X), outputs(student, X)
    expected = 0.25 * crossentropy(Y, s).mean() + penalty
    expected += 0.75 * soft_targets(t, s, 2.0).mean()
    np.testing.assert_allclose(logs["total_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)


def test_the_penalty_alone_trains():
    """The gradient of a regulariser could be missing although the logs show it."""
    teacher = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(3)])
    dense = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5))
    student = keras.Sequential([keras.Input((FEATURES,)), dense])
    distiller = distil(
        teacher, student, rate=0.1, student_loss_weight=0.0, distillation_weight=0.0
    )
    before = keras.ops.convert_to_numpy(dense.kernel)
    fit_steps(distiller, X, Y)
    after = keras.ops.convert_to_numpy(dense.kernel)
    np.testing.assert_allclose(after, 0.9 * before, rtol=1e-5)


@pytest.mark.parametrize("loss", ["none", "given"])
def test_labels_are_optional(loss):
    """Unlabelled data, of which there is most, could not be used."""
    teacher, student = pair()
    kind = {"loss": None} if loss == "none" else {}
    distiller = compiled(
        keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation(2.0)), **kind
    )
    kd = soft_targets(outputs(teacher, X), outputs(student, X), 2.0).mean()
    history = distiller.fit(X, batch_size=8, verbose=0, validation_data=(X,)).history
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-5)
    np.testing.assert_allclose(history["loss"], [0.5 * kd], rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], [0.5 * kd], rtol=1e-5)
    assert history["student_loss"] == [0.0]


def test_metrics_of_compile_are_the_students():
    """Accuracy would be that of the teacher, or missing."""
    teacher, student = pair()
    weight = np.linspace(0, 2, 8, dtype="float32")
    distiller = compiled(
        keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation()),
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
    )
    right = outputs(student, X).argmax(-1) == Y
    history = fit_steps(distiller, X, Y, sample_weight=weight)
    np.testing.assert_allclose(history["accuracy"], [right.mean()], rtol=1e-6)
    expected = np.average(right, weights=weight)
    np.testing.assert_allclose(history["weighted_accuracy"], [expected], rtol=1e-6)


def test_evaluation_moves_nothing():
    """Looking at the validation loss would change the training."""
    teacher, student = stateful(7), stateful(5)
    feature = keras_kd.FeatureDistillation("mse", "hidden", "hidden")
    distiller = keras_kd.Distiller(
        teacher, student, [keras_kd.LogitsDistillation(), feature]
    )
    compiled(distiller, optimizer=keras.optimizers.Adam(0.1))
    fit_steps(distiller, X, Y, steps=2)

    def state():
        variables = distiller.variables + teacher.variables
        return values_of(variables + distiller.optimizer.variables)

    before = state()
    first = distiller.evaluate(X, Y, batch_size=3, verbose=0)
    assert_same(before, state())
    distiller.predict(X, verbose=0)
    assert_same(before, state())
    assert first == distiller.evaluate(X, Y, batch_size=3, verbose=0)


def test_training_leaves_the_teacher_as_it_was():
    """A teacher whose statistics drift can serve no second student."""
    teacher, student = stateful(7), stateful(5)
    teacher.layers[0].trainable = False
    flags = [layer.trainable for layer in teacher.layers]
    before = values_of(teacher.variables)
    distiller = distil(teacher, student, rate=0.5)
    distiller.fit(X, Y, batch_size=3, epochs=2, validation_data=(X, Y), verbose=0)
    assert_same(before, values_of(teacher.variables))
    assert flags == [layer.trainable for layer in teacher.layers]
    ours = {id(variable) for variable in distiller.trainable_variables}
    assert not ours & {id(variable) for variable in teacher.variables}


def test_the_students_statistics_move_once_a_step():
    """A second hidden forward pass would update the statistics twice."""
    student = stateful(5)
    norm = student.layers[1]
    mean = keras.ops.convert_to_numpy(student.layers[0](X)).mean(axis=0)
    fit_steps(distil(stateful(7), student, losses()[:1]), X, Y)
    expected = (1 - norm.momentum) * mean
    found = keras.ops.convert_to_numpy(norm.moving_mean)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_an_evaluation_without_the_teacher():
    """Each validation would cost as much as the teacher does."""
    teacher, counter = counted_classifier(7)
    _, student = pair()
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(), evaluate_distillation=False
    )
    compiled(distiller, run_eagerly=True, metrics=["accuracy"])
    fit_steps(distiller, X, Y)
    counter.calls = 0
    logs = distiller.evaluate(X, Y, verbose=0, return_dict=True)
    assert counter.calls == 0
    assert set(logs) == {"loss", "student_loss", "accuracy"}
    task = crossentropy(Y, outputs(student, X)).mean()
    np.testing.assert_allclose(logs["loss"], task, rtol=1e-5)
    history = fit_steps(distiller, X, Y, validation_data=(X, Y))
    assert counter.calls == 1
    assert {k for k in history if k.startswith("val_")} == {f"val_{k}" for k in logs}
    assert history["distillation_loss"][0] > 0
