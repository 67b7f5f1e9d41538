"""Batches that begin with what is easy."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.data import CurriculumBatches, LinearPacing, difficulty
from tests.training.helpers import classifier, data, fit_steps, log_softmax


def batches(**changes):
    settings = {
        "difficulty": np.arange(20)[::-1],
        "pacing": LinearPacing(0.25, epochs=3),
        "seed": 3,
        **changes,
    }
    return CurriculumBatches(np.arange(20.0), np.arange(20), 8, **settings)


def seen(made):
    return np.concatenate([made[index][0] for index in range(len(made))])


def test_each_epoch_admits_more_and_costs_the_same():
    """An epoch that shrinks would change what every schedule of steps means."""
    made = batches()
    for share in (5, 10, 15, 20, 20):
        rows = seen(made)
        assert len(rows) == 20
        assert sorted(set(rows)) == list(range(20 - share, 20))
        counts = np.unique(rows, return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
        made.on_epoch_end()


def test_an_epoch_is_the_same_again():
    """A resumed run must see what it would have seen."""
    made = batches()
    made.on_epoch_end()
    np.testing.assert_array_equal(seen(made), seen(batches(epoch=1)))


def test_difficulty_by_its_definitions():
    """Easy and hard must not be swapped."""
    x, y = data(12)
    teacher = classifier(7)
    log_p = log_softmax(teacher.predict(x, verbose=0))
    p = np.exp(log_p)
    wanted = {
        "loss": -log_p[np.arange(12), y],
        "confidence": 1 - p.max(-1),
        "entropy": -(p * log_p).sum(-1),
    }
    for by, values in wanted.items():
        np.testing.assert_allclose(difficulty(teacher, x, y, by=by), values, rtol=1e-5)


@pytest.mark.parametrize("form", ["column", "one_hot", "smoothed", "float"])
def test_labels_in_every_form_keras_takes(form):
    """Labels in another form would rank the examples by another class."""
    x, y = data(12)
    one_hot = np.eye(3)[y]
    given = {
        "column": y[:, None],
        "one_hot": one_hot,
        "smoothed": 0.9 * one_hot + 0.1 / 3,
        "float": y.astype("float32"),
    }[form]
    teacher = classifier(7)
    np.testing.assert_array_equal(
        difficulty(teacher, x, given), difficulty(teacher, x, y)
    )


def test_difficulty_of_a_class_that_is_left_out():
    """One NaN would make every order of the examples a wrong one."""
    inputs = keras.Input((3,))
    teacher = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    logits = np.array([[1.0, 2.0, -np.inf], [0.0, 1.0, 2.0]], "float32")
    p = np.exp(log_softmax(np.array([1.0, 2.0])))
    second = np.exp(log_softmax(logits[1]))
    wanted = [-(q * np.log(q)).sum() for q in (p, second)]
    np.testing.assert_allclose(
        difficulty(teacher, logits, by="entropy"), wanted, rtol=1e-5
    )
    values = difficulty(teacher, logits, np.array([2, 0]))
    assert values[0] == np.inf
    assert values[1] == pytest.approx(-np.log(second[0]), rel=1e-5)


def test_a_curriculum_trains_through_fit():
    """The batches are a data set like any other, for a student with a teacher."""
    x, y = data(40)
    teacher, student = classifier(7), classifier(5)
    made = CurriculumBatches(
        x,
        y,
        8,
        difficulty=difficulty(teacher, x, y),
        pacing=LinearPacing(0.5, epochs=2),
    )
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation(2.0))
    distiller.compile(
        keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(True)
    )
    history = distiller.fit(made, epochs=10, shuffle=False, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert made.epoch == 10


def test_a_temperature_that_follows_the_epoch():
    """A number that is frozen into the compiled step would never cool."""
    x, y = data()
    loss = keras_kd.LogitsDistillation(8.0)
    distiller = keras_kd.Distiller(classifier(7), classifier(5), loss)
    distiller.compile(
        keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(True)
    )
    told = []

    def schedule(epoch, logs):
        told.append(logs.get("loss"))
        return 8.0 / (epoch + 1)

    cooling = keras_kd.callbacks.EpochSchedule("temperature", schedule, loss=loss)
    weight = keras_kd.callbacks.EpochSchedule(
        "student_loss_weight", lambda epoch, logs: 0.1 * epoch
    )
    history = fit_steps(distiller, x, y, steps=3, callbacks=[cooling, weight])
    by_hand = []
    for temperature in (8.0, 4.0, 8.0 / 3):
        loss.temperature = temperature
        by_hand.append(
            distiller.evaluate(x, y, verbose=0, return_dict=True)["logits_distillation"]
        )
    np.testing.assert_allclose(history["logits_distillation"], by_hand, rtol=1e-5)
    assert distiller.student_loss_weight == pytest.approx(0.2)
    assert told == [None, *history["loss"][:2]]


def test_malformed():
    """Messages say what is wrong before an epoch is lost to it."""
    with pytest.raises(ValueError, match="`difficulty` must hold one finite number"):
        batches(difficulty=np.zeros(3))
    with pytest.raises(ValueError, match="`pacing` must be a function"):
        batches(pacing=0.5)
    with pytest.raises(ValueError, match="`start` must be above 0"):
        LinearPacing(0.0, epochs=3)
    with pytest.raises(ValueError, match="`epochs` must be a positive integer"):
        LinearPacing(0.5, epochs=0)
    with pytest.raises(ValueError, match="`by` must be one of"):
        difficulty(classifier(), data()[0], by="size")
    with pytest.raises(ValueError, match="`y` must hold the class"):
        difficulty(classifier(), data()[0])
    for label in (-1, -100, 3):
        y = data()[1].copy()
        y[2] = label
        with pytest.raises(ValueError, match=f"classes from 0 to 2.*{label}"):
            difficulty(classifier(), data()[0], y)
    with pytest.raises(ValueError, match="one class index per example"):
        difficulty(classifier(), data()[0], np.zeros((8, 2)))
    with pytest.raises(ValueError, match="`schedule` must be a function"):
        keras_kd.callbacks.EpochSchedule("temperature", 3.0)
    x, y = data()
    distiller = keras_kd.Distiller(
        classifier(), classifier(), keras_kd.LogitsDistillation()
    )
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    wrong = keras_kd.callbacks.EpochSchedule("temperature", lambda e, logs: 1.0)
    with pytest.raises(ValueError, match="`name` must be a hyperparameter"):
        fit_steps(distiller, x, y, callbacks=[wrong])
