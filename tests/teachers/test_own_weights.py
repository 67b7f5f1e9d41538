"""Teachers made of the student's own weights: what moves them, and what must not."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.teachers import EarlierSelf, Ensemble, MovingAverage, Specialists
from tests.teachers.test_moving_average import averages, distiller_of
from tests.training.helpers import (
    KeptWeights,
    Subclassed,
    assert_same,
    classifier,
    compiled,
    data,
    fit_steps,
    values_of,
)

SGD = keras.optimizers.SGD
X, Y = data()


def subclassed():
    model = Subclassed()
    model(X)
    return model


class EveryStep(KeptWeights):
    """Keeps the student's and the teacher's weights after each step."""

    def on_train_batch_end(self, batch, logs=None):
        self.keep()

    def updates(self, start):
        """Return the places of the steps that have changed the student."""
        before = [start, *self.student[:-1]]
        pairs = enumerate(zip(before, self.student, strict=True))
        return [n for n, (old, new) in pairs if not np.array_equal(old[0], new[0])]

    def check(self, start, momentum):
        """Check that the teacher is the average over the updates alone."""
        places = self.updates(start)
        wanted = averages([self.student[place] for place in places], momentum)
        for number, now in enumerate(self.teacher):
            done = sum(place <= number for place in places)
            expected = wanted[done - 1] if done else start
            assert_same(now, expected, rtol=1e-5, atol=1e-6)
        return places


@pytest.mark.parametrize("eager", [False, True])
def test_steps_that_only_accumulate_move_nothing(eager):
    """An average over steps without an update forgets as much faster."""
    student = classifier()
    distiller, seen = distiller_of(student, 0.9), EveryStep()
    start = values_of(student.weights)
    compiled(
        distiller,
        optimizer=SGD(0.5, gradient_accumulation_steps=3),
        run_eagerly=eager,
    )
    fit_steps(distiller, X, Y, steps=9, callbacks=[seen])
    assert seen.check(start, 0.9) == [2, 5, 8]


@pytest.mark.parametrize("eager", [False, True])
def test_steps_that_overflow_move_nothing(eager):
    """Mixed precision skips a step now and then: no update, no average of it."""
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    distiller, seen = distiller_of(student, 0.9), EveryStep()
    start = values_of(student.weights)
    scaled = keras.optimizers.LossScaleOptimizer(
        SGD(1e-4), initial_scale=2.0**127, dynamic_growth_steps=2
    )
    compiled(distiller, optimizer=scaled, run_eagerly=eager)
    fit_steps(distiller, 100.0 * X, Y, steps=14, callbacks=[seen])
    places = seen.check(start, 0.9)
    assert places[0] > 1
    assert max(np.diff(places)) > 1  # not only before the first update


def test_parts_that_accumulate_differently():
    """What follows two peers moves whenever one of them does."""
    peers = keras_kd.students.PeerGroup([classifier(4), classifier(6)])
    distiller = keras_kd.Distiller(
        MovingAverage(peers, 0.5),
        peers,
        keras_kd.losses.MutualDistillation(),
        distillation_weight=0.0,
    )
    parts = {
        "peers[0]": SGD(0.1, gradient_accumulation_steps=2),
        "peers[1]": SGD(0.1, gradient_accumulation_steps=3),
    }
    compiled(distiller, optimizer=keras_kd.optimizers.PerPart(parts))
    fit_steps(distiller, X, Y, steps=6)
    assert int(distiller.teacher.updates) == 4  # after steps 2, 3, 4 and 6


def test_a_new_optimizer_goes_on_with_the_average(tmp_path):
    """A run that is compiled again must not throw away what it has averaged."""
    distiller = distiller_of(classifier(), 1.0)
    fit_steps(distiller, X, Y, steps=3)
    distiller.save(tmp_path / "d.keras")
    for each in (distiller, keras.saving.load_model(tmp_path / "d.keras")):
        old = values_of(each.teacher.model.weights)
        compiled(each, 0.5)
        fit_steps(each, X, Y)
        assert int(each.teacher.updates) == 4
        pairs = zip(old, values_of(each.student.weights), strict=True)
        wanted = [0.75 * before + 0.25 * now for before, now in pairs]
        got = values_of(each.teacher.model.weights)
        assert_same(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [MovingAverage, EarlierSelf])
def test_a_subclassed_student_is_saved_and_goes_on(tmp_path, kind):
    """Gradients that are not cleared add up; a thawed teacher costs Adam its state."""
    student = subclassed()
    distiller = keras_kd.Distiller(
        kind(student), student, keras_kd.LogitsDistillation(1.0)
    )
    compiled(distiller, optimizer=keras.optimizers.Adam(0.01))
    fit_steps(distiller, X, Y, steps=2, shuffle=False)
    distiller.save(tmp_path / "d.keras")
    loaded = keras.saving.load_model(tmp_path / "d.keras")
    assert len(loaded.trainable_variables) == len(student.trainable_variables)
    assert_same(
        values_of(loaded.optimizer.variables), values_of(distiller.optimizer.variables)
    )
    for each in (distiller, loaded):
        fit_steps(each, X, Y, steps=3, shuffle=False)
    assert_same(values_of(loaded.student.weights), values_of(distiller.student.weights))
    assert_same(values_of(loaded.teacher.weights), values_of(distiller.teacher.weights))


def test_a_distiller_that_is_thawed_does_not_thaw_its_teacher():
    """Frozen for a stage and then trained again, the average would train as well."""
    student = subclassed()
    student.trainable = False  # the copy says so from the start
    teacher = MovingAverage(student, 0.9)
    student.trainable = True
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation(1.0))
    distiller.trainable = False
    distiller.trainable = True
    assert len(distiller.trainable_variables) == len(student.trainable_variables) == 4
    assert not teacher.trainable
    assert not any(variable.trainable for variable in teacher.variables)


class Stopped(Exception):
    """Ends a run as a power cut does."""


class Stop(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Stopped


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("every", [1, 2])
def test_a_run_goes_on_with_the_earlier_self(tmp_path, as_list, every):
    """Saved before the refresh, the teacher would be that of one epoch more ago."""
    start = classifier().get_weights()

    def run(folder, *callbacks):
        student = classifier()
        student.set_weights(start)
        distiller = keras_kd.Distiller(
            EarlierSelf(student, every), student, keras_kd.LogitsDistillation(1.0)
        )
        compiled(distiller, 0.5)
        given = [keras.callbacks.BackupAndRestore(tmp_path / folder), *callbacks]
        if as_list:
            given = keras.callbacks.CallbackList(
                given, add_history=True, epochs=6, steps=1, model=distiller
            )
        fit_steps(distiller, X, Y, steps=6, shuffle=False, callbacks=given)
        return distiller

    whole = run("whole")
    with pytest.raises(Stopped):
        run("part", Stop(4))
    resumed = run("part")
    assert_same(values_of(resumed.student.weights), values_of(whole.student.weights))
    assert_same(values_of(resumed.teacher.weights), values_of(whole.teacher.weights))


@pytest.mark.parametrize("kind", [MovingAverage, EarlierSelf])
@pytest.mark.parametrize("group", [Ensemble, Specialists])
def test_inside_of_another_teacher_it_would_never_move(kind, group):
    """An average that stands still is the student's random initial weights."""
    student = classifier()
    teacher = group([kind(student), classifier(7)])
    loss = keras_kd.LogitsDistillation(
        1.0, **({"output": (0, None)} if group is Specialists else {})
    )
    with pytest.raises(ValueError, match=f"A {kind.__name__} must be the teacher"):
        keras_kd.Distiller(teacher, student, loss)
    teacher = group([kind(student).model, classifier(7)])
    assert keras_kd.Distiller(teacher, student, loss).teacher is teacher


@pytest.mark.parametrize("kind", [MovingAverage, EarlierSelf])
def test_of_another_student(kind):
    """The backend's own message would name neither model."""
    wanted = r"'given'.* 'trained'.*\(4, 7\) and \(4, 5\)"
    given, loss = classifier(7, name="given"), keras_kd.LogitsDistillation(1.0)
    with pytest.raises(ValueError, match=wanted):
        keras_kd.Distiller(kind(given), classifier(5, name="trained"), loss)
    late = Subclassed(name="trained")  # it has its weights from the first batch on
    distiller = compiled(keras_kd.Distiller(kind(given), late, loss))
    with pytest.raises(ValueError, match=wanted):
        fit_steps(distiller, X, Y)
    shorter = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    teacher = kind(classifier(5))
    with pytest.raises(ValueError, match="with 4 weights, and the student.* with 2"):
        teacher.bind(shorter)


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_weights_in_half_precision(policy):
    """A share of 0.001 of a small difference is rounded to nothing."""
    student = classifier(dtype=policy)
    with pytest.raises(ValueError, match=f"weights of type {policy}.*mixed_{policy}"):
        MovingAverage(student)
    assert MovingAverage(classifier(dtype=f"mixed_{policy}")).built
