"""A student that sees no data: what trains what, by which gradient."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.engine.reduction import reduce_loss
from keras_kd.losses import DataFreeDistillation
from keras_kd.optimizers import PerPart
from keras_kd.students import DataFreeStudent
from tests.gradients import value_and_gradient
from tests.training.helpers import (
    assert_same,
    classifier,
    fit_steps,
    log_softmax,
    values_of,
)


def generator():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4),
        ]
    )


def noise(rows=32, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 6)).astype("float32")


def distiller_of(teacher=None, optimizer=None, **settings):
    settings.setdefault("layer_name", "teacher/hidden")
    model = DataFreeStudent(generator(), teacher or classifier(9), classifier(5))
    distiller = keras_kd.Distiller(
        None,
        model,
        DataFreeDistillation(**settings),
        student_loss_weight=0.0,
        distillation_weight=1.0,
    )
    distiller.compile(
        optimizer
        or PerPart(
            {
                "generator": keras.optimizers.Adam(0.01),
                "student": keras.optimizers.Adam(0.02),
            }
        )
    )
    return distiller


def by_hand(teacher, student, features, fixed, o=0.7, a=0.3, i=2.0, temperature=2.0):
    """Return the value by its definition; `fixed` is the teacher without gradient."""
    log_p = log_softmax(fixed / temperature)
    log_q = log_softmax(student / temperature)
    learned = temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1)
    rows = np.arange(len(fixed))
    sure = -log_softmax(teacher)[rows, fixed.argmax(-1)]
    mean = np.exp(log_softmax(teacher)).mean(0)
    information = (mean * np.log(mean)).sum()
    return learned + o * sure - a * np.abs(features).mean(-1) + i * information


def test_value_and_gradient():
    """The generator must feel its three terms, and not the student's."""
    random = np.random.default_rng(0)
    z = random.normal(0, 2, (3, 6, 4))
    loss = DataFreeDistillation(0.7, 0.3, 2.0, 2.0, layer_name="teacher/hidden")

    def total(x):
        signals = {"teacher": x[0], "student": x[1], "features": x[2]}
        return keras.ops.sum(loss.call(None, signals, keras_kd.StepContext()))

    value, gradient = value_and_gradient(total, z.astype("float32"))
    fixed = z[0].copy()
    np.testing.assert_allclose(value, by_hand(*z, fixed).sum(), rtol=1e-4)
    wanted, size = np.zeros_like(z), 1e-5
    for place in np.ndindex(z.shape):
        ends = []
        for sign in (1, -1):
            moved = z.copy()
            moved[place] += sign * size
            ends.append(by_hand(*moved, fixed).sum())
        wanted[place] = (ends[0] - ends[1]) / (2 * size)
    assert np.abs(gradient - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("hide", ["sample_weight", "student_mask"])
def test_a_weight_equals_repetition(hide):
    """Also in the batch's mean probabilities, which would else balance other rows."""
    z = np.random.default_rng(0).normal(0, 2, (3, 5, 4)).astype("float32")
    loss = DataFreeDistillation(0.7, 0.3, 2.0, 2.0, layer_name="teacher/hidden")
    weight = np.array([3, 1, 0, 2, 1])

    def total(rows, **context):
        names = ("teacher", "student", "features")
        signals = {
            name: keras.ops.convert_to_tensor(part[rows])
            for name, part in zip(names, z, strict=True)
        }
        step = keras_kd.StepContext(**context)
        value = reduce_loss(loss, loss.call(None, signals, step), step)
        return float(keras.ops.convert_to_numpy(value))

    if hide == "sample_weight":
        given = weight.astype("float32")
    else:
        given, weight = weight > 0, (weight > 0).astype(int)
    weighted = total(slice(None), **{hide: keras.ops.convert_to_tensor(given)})
    rows = np.repeat(np.arange(5), weight)
    assert weighted == pytest.approx(total(rows), rel=1e-5)
    wanted = by_hand(*z[:, rows].astype("float64"), z[0, rows].astype("float64"))
    assert weighted == pytest.approx(wanted.mean(), rel=1e-4)


def test_the_student_learns_and_the_teacher_stands_still():
    """Without data the only thing that must not change is what is known."""
    teacher = classifier(9)
    x = np.random.default_rng(5).normal(size=(200, 4)).astype("float32")
    y = (x @ np.random.default_rng(6).normal(size=(4, 3))).argmax(-1)
    teacher.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(True),
    )
    teacher.fit(x, y, epochs=15, verbose=0)
    before = values_of(teacher.variables)
    distiller = distiller_of(teacher, activation_weight=0.01)
    inner = values_of(distiller.student.teacher.variables)
    distiller.fit(noise(1000), batch_size=50, epochs=12, verbose=0)
    assert_same(values_of(teacher.variables), before)
    assert_same(values_of(distiller.student.teacher.variables), inner)
    assert teacher.trainable
    student = distiller.student.student
    agree = student.predict(x, verbose=0).argmax(-1) == teacher.predict(
        x, verbose=0
    ).argmax(-1)
    assert agree.mean() > 0.75


def test_the_generator_does_not_feel_the_student():
    """A generator that helps the student to agree would make easy inputs."""
    first = distiller_of(information_weight=0.0, one_hot_weight=0.0)
    first.distillation_losses[0].activation_weight = 0.0
    fit_steps(first, noise(), steps=1)
    before = values_of(first.student.generator.trainable_variables)
    student = values_of(first.student.student.trainable_variables)
    fit_steps(first, noise(), steps=2)
    after = values_of(first.student.generator.trainable_variables)
    assert_same(after, before)
    moved = values_of(first.student.student.trainable_variables)
    assert any((a != b).any() for a, b in zip(student, moved, strict=True))


def test_a_saved_run_goes_on_bit_for_bit(tmp_path):
    """Generator and student belong together: one alone is of no use."""
    distiller = distiller_of()
    fit_steps(distiller, noise(), steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    for each in (distiller, loaded):
        fit_steps(each, noise(), steps=2, shuffle=False)
    assert_same(values_of(loaded.student.weights), values_of(distiller.student.weights))


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class OwnTeacher(keras.Model):
    """A teacher of a class of one's own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(9, "tanh", name="hidden")
        self.logits = keras.layers.Dense(3, name="logits")

    def call(self, x):
        return self.logits(self.hidden(x))


@pytest.mark.parametrize("thawed", [False, True])
def test_a_teacher_that_was_frozen_stays_so(tmp_path, thawed):
    """A teacher that trains with the generator soon says what is easiest to learn."""
    teacher = OwnTeacher()
    teacher(np.zeros((1, 4)))
    teacher.trainable = False
    distiller = distiller_of(teacher, keras.optimizers.Adam(0.01))
    if thawed:
        distiller.trainable = False
        distiller.trainable = True
    assert distiller.student.trainable
    fit_steps(distiller, noise(), steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    for each in (distiller, loaded):
        fit_steps(each, noise(), steps=2, shuffle=False)
        assert_same(values_of(each.student.teacher.weights), values_of(teacher.weights))
    assert_same(values_of(loaded.student.weights), values_of(distiller.student.weights))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    """Half precision must train as float32 does."""
    keras.config.set_dtype_policy(policy)
    try:
        history = fit_steps(distiller_of(), noise(), steps=10)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_malformed():
    """Messages say what is missing."""
    with pytest.raises(ValueError, match="`generator` must be a keras.Model"):
        DataFreeStudent(3, classifier(), classifier())
    with pytest.raises(ValueError, match="`teacher` must be a keras.Model"):
        DataFreeStudent(generator(), 3, classifier())
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    model = DataFreeStudent(generator(), classifier(), other)
    distiller = keras_kd.Distiller(None, model, DataFreeDistillation(), None, 0.0)
    distiller.compile("adam")
    with pytest.raises(ValueError, match="classes"):
        distiller.fit(noise(), verbose=0)
    tokens = keras.KerasTensor((None, 4, 3))
    with pytest.raises(ValueError, match="outputs of shape `.batch, classes.`"):
        DataFreeDistillation().build(None, {"teacher": tokens, "student": tokens})
