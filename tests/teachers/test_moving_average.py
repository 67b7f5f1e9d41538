"""A teacher whose weights follow the student's, in the compiled step."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    KeptWeights,
    assert_same,
    classifier,
    compiled,
    data,
    fit_steps,
    values_of,
)


class Weights(KeptWeights):
    """Keeps the student's and the teacher's weights after each epoch, of one step."""

    def on_epoch_end(self, epoch, logs=None):
        self.keep()


def normalized(name="student"):
    """Return a student with statistics."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="hidden"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3),
        ],
        name=name,
    )


def distiller_of(student, momentum=0.9, **kwargs):
    teacher = keras_kd.teachers.MovingAverage(student, momentum)
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(1.0), **kwargs
    )
    return compiled(distiller, 0.5)


def averages(weights, momentum):
    """Return the average after each step, by hand."""
    mean, means = None, []
    for step, now in enumerate(weights):
        kept = min(momentum, step / (step + 1))
        now = [value.astype("float64") for value in now]
        mean = (
            now
            if mean is None
            else [kept * m + (1 - kept) * v for m, v in zip(mean, now, strict=True)]
        )
        means.append(mean)
    return means


@pytest.mark.parametrize("eager", [False, True])
def test_the_weights_are_the_average_of_the_students(eager):
    """A wrong average is a teacher that nobody has trained."""
    x, y = data()
    distiller, seen = distiller_of(normalized(), 0.6), Weights()
    distiller.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.SparseCategoricalCrossentropy(True),
        run_eagerly=eager,
    )
    fit_steps(distiller, x, y, steps=5, callbacks=[seen])
    assert len({value[0].tobytes() for value in seen.student}) == 5
    for got, wanted in zip(seen.teacher, averages(seen.student, 0.6), strict=True):
        assert_same(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_momentum_follows_a_schedule_and_an_assignment():
    """A momentum that warms up must not be frozen into the compiled step."""
    x, y = data()
    distiller, seen = distiller_of(classifier(), 0.0), Weights()
    fit_steps(distiller, x, y, steps=2, callbacks=[seen])
    assert_same(seen.teacher[-1], seen.student[-1], rtol=1e-6, atol=1e-7)
    distiller.teacher.momentum = 1.0
    seen = Weights()
    fit_steps(distiller, x, y, steps=2, callbacks=[seen])
    assert np.abs(seen.teacher[0][0] - seen.student[0][0]).max() > 1e-4
    # The fourth update keeps no more than three quarters.
    wanted = [
        0.75 * old + 0.25 * new
        for old, new in zip(seen.teacher[0], seen.student[1], strict=True)
    ]
    assert_same(seen.teacher[1], wanted, rtol=1e-5, atol=1e-6)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.0, 0.5])
    distiller, seen = distiller_of(classifier(), schedule), Weights()
    fit_steps(distiller, x, y, steps=4, callbacks=[seen])
    assert_same(seen.teacher[1], seen.student[1], rtol=1e-6, atol=1e-7)
    half = [(a + b) / 2 for a, b in zip(seen.teacher[1], seen.student[2], strict=True)]
    assert_same(seen.teacher[2], half, rtol=1e-5, atol=1e-6)


def test_the_student_is_not_its_own_teachers_property():
    """The file of a student must hold no second copy of it, and train as it did."""
    student = classifier()
    distiller = distiller_of(student)
    x, y = data()
    fit_steps(distiller, x, y, steps=2)
    own = {id(v) for v in student.variables}
    assert not own & {id(v) for v in distiller.teacher.variables}
    assert len(distiller.trainable_variables) == len(student.trainable_variables)
    assert student.trainable
    assert not distiller.teacher.trainable


def test_evaluation_moves_nothing():
    """Whoever evaluates twice must get the same figures."""
    x, y = data()
    distiller = distiller_of(normalized())
    fit_steps(distiller, x, y, steps=2)
    before = values_of(distiller.variables)
    distiller.evaluate(x, y, verbose=0)
    assert_same(values_of(distiller.variables), before)


@pytest.mark.parametrize("save_teacher", [True, False])
def test_a_saved_run_goes_on_bit_for_bit(tmp_path, save_teacher):
    """An average that is lost with the process starts again from one student."""
    x, y = data()
    whole = distiller_of(normalized(), save_teacher=save_teacher)
    start = whole.student.get_weights()
    fit_steps(whole, x, y, steps=4, shuffle=False)
    first = distiller_of(normalized(), save_teacher=save_teacher)
    first.student.set_weights(start)
    first.teacher.model.set_weights(start)
    fit_steps(first, x, y, steps=2, shuffle=False)
    first.save_weights(tmp_path / "part.weights.h5")
    second = distiller_of(normalized(), save_teacher=save_teacher)
    second.load_weights(tmp_path / "part.weights.h5")
    fit_steps(second, x, y, steps=2, shuffle=False)
    assert_same(values_of(second.student.weights), values_of(whole.student.weights))
    assert_same(values_of(second.teacher.weights), values_of(whole.teacher.weights))


def test_a_loaded_distiller_goes_on_bit_for_bit(tmp_path):
    """The Distiller's own file holds the average, and its momentum."""
    x, y = data()
    distiller = distiller_of(normalized(), 0.7)
    fit_steps(distiller, x, y, steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    assert loaded.teacher.momentum == 0.7
    assert_same(values_of(loaded.teacher.weights), values_of(distiller.teacher.weights))
    for each in (distiller, loaded):
        fit_steps(each, x, y, steps=2, shuffle=False)
    assert_same(values_of(loaded.teacher.weights), values_of(distiller.teacher.weights))
    assert_same(values_of(loaded.student.weights), values_of(distiller.student.weights))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    """In half precision a momentum of 0.999 would stand still; weights are float32."""
    keras.config.set_dtype_policy(policy)
    try:
        distiller = distiller_of(normalized(), 0.999)
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = data()
    seen = Weights()
    fit_steps(distiller, x, y, steps=4, callbacks=[seen])
    for got, wanted in zip(seen.teacher, averages(seen.student, 0.999), strict=True):
        assert_same(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_earlier_self_is_the_student_of_the_last_epoch():
    """An earlier self that follows too early or too late is another method."""
    x, y = data()
    student = normalized()
    teacher = keras_kd.teachers.EarlierSelf(student, every=2)
    start = values_of(student.weights)
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation(1.0))
    compiled(distiller, 0.5)
    seen = Weights()
    fit_steps(distiller, x, y, steps=5, callbacks=[seen])
    assert_same(seen.teacher[0], start)
    assert_same(seen.teacher[1], seen.student[1])
    assert_same(seen.teacher[2], seen.student[1])
    assert_same(seen.teacher[3], seen.student[3])
    assert_same(seen.teacher[4], seen.student[3])


def test_the_refreshed_teacher_answers_in_the_compiled_step():
    """A step that was compiled with the old weights must see the new ones."""
    x, y = data()
    student = classifier()
    distiller = keras_kd.Distiller(
        keras_kd.teachers.EarlierSelf(student, every=9),
        student,
        keras_kd.LogitsDistillation(1.0),
        evaluate_distillation=True,
    )
    compiled(distiller, 0.5)
    fit_steps(distiller, x, y, steps=3)
    apart = distiller.evaluate(x, y, verbose=0, return_dict=True)
    distiller.teacher.refresh(student)
    equal = distiller.evaluate(x, y, verbose=0, return_dict=True)
    assert apart["logits_distillation"] > 1e-3
    assert abs(equal["logits_distillation"]) < 1e-6


def test_an_earlier_self_is_saved_in_the_middle_of_a_run(tmp_path):
    """Resumed without it, the next epoch would learn from a random network."""
    x, y = data()
    student = classifier()
    distiller = keras_kd.Distiller(
        keras_kd.teachers.EarlierSelf(student),
        student,
        keras_kd.LogitsDistillation(1.0),
    )
    compiled(distiller, 0.5)
    fit_steps(distiller, x, y, steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    for each in (distiller, loaded):
        fit_steps(each, x, y, steps=2, shuffle=False)
    assert_same(values_of(loaded.student.weights), values_of(distiller.student.weights))


def test_malformed():
    """Messages say what is wrong before a run is lost to it."""
    average = keras_kd.teachers.MovingAverage
    with pytest.raises(ValueError, match="`momentum` must be a number"):
        average(classifier(), 1.5)
    with pytest.raises(ValueError, match="`student` must have its weights"):
        average(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="`student` must be a keras.Model"):
        keras_kd.teachers.EarlierSelf(keras.layers.Dense(3))
    with pytest.raises(ValueError, match="`every` must be a positive"):
        keras_kd.teachers.EarlierSelf(classifier(), every=0)


class NoConfig(keras.Model):
    """A class that cannot be copied."""

    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(units)

    def call(self, x):
        return self.dense(x)


def test_a_student_that_cannot_be_copied():
    """A class without `get_config` cannot be made a second time."""
    student = NoConfig(3)
    student(np.ones((2, 4), "float32"))
    with pytest.raises(ValueError, match="must be a model that can be copied"):
        keras_kd.teachers.MovingAverage(student)
