"""Keras's own callbacks around a Distiller, and the checkpoint of the student."""

import re
import zipfile

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd import losses, students
from tests.training.helpers import (
    assert_same,
    classifier,
    compiled,
    data,
    distil,
    fit_steps,
    outputs,
    pair,
    values_of,
)

X, Y = data()


def projecting(rate=0.5, **kwargs):
    """Return a Distiller with a projector and an optimizer that keeps state."""
    teacher, student = pair()
    losses = [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    ]
    distiller = keras_kd.Distiller(teacher, student, losses, **kwargs)
    return compiled(distiller, optimizer=keras.optimizers.SGD(rate, momentum=0.9))


def test_the_student_checkpoint_is_a_plain_model(tmp_path):
    """The file for deployment would drag the teacher and the projectors along."""
    path = tmp_path / "student.keras"
    distiller = projecting()
    checkpoint = keras_kd.callbacks.StudentCheckpoint(path)
    fit_steps(distiller, X, Y, steps=2, callbacks=[checkpoint])
    loaded = keras.saving.load_model(path)
    assert type(loaded) is type(distiller.student)
    assert len(loaded.variables) == len(distiller.student.variables)
    assert_same(values_of(loaded.variables), values_of(distiller.student.variables))
    np.testing.assert_array_equal(outputs(loaded, X), outputs(distiller.student, X))


def test_the_student_checkpoint_in_the_middle_of_an_epoch(tmp_path):
    """On JAX the values live in the compiled step: an old student would be saved."""
    distiller = projecting()
    saved = keras_kd.callbacks.StudentCheckpoint(
        tmp_path / "{batch}.weights.h5", save_weights_only=True, save_freq=1
    )
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(
            values_of(saved.model.variables)
        )
    )
    distiller.fit(X, Y, batch_size=4, callbacks=[saved, look], verbose=0)
    assert len(seen) == 2
    for batch, expected in enumerate(seen, start=1):
        _, other = pair()
        other.load_weights(tmp_path / f"{batch}.weights.h5")
        assert_same(values_of(other.variables), expected)
    assert any((a != b).any() for a, b in zip(*seen, strict=True))


class EachEpoch(keras.callbacks.Callback):
    """Keeps the student's weights and the logs at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.logs = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(values_of(self.model.student.variables))
        self.logs.append(dict(logs))


def test_the_student_checkpoint_keeps_the_best(tmp_path):
    """`monitor` and `save_best_only` would be those of another callback."""
    path = tmp_path / "best.keras"
    best = keras_kd.callbacks.StudentCheckpoint(
        path, monitor="val_student_loss", mode="min", save_best_only=True
    )
    epochs = EachEpoch()
    distiller = projecting(rate=2.0)
    # The student learns wrong labels: on the right ones it is best early.
    fit_steps(
        distiller,
        X,
        (Y + 1) % 3,
        steps=5,
        callbacks=[best, epochs],
        validation_data=(X, Y),
    )
    place = int(np.argmin([logs["val_student_loss"] for logs in epochs.logs]))
    assert place < 4
    loaded = keras.saving.load_model(path)
    assert_same(values_of(loaded.variables), epochs.weights[place])


def peers():
    return students.PeerGroup([classifier(5, "small"), classifier(6, "large")])


def branched():
    inputs = keras.Input((4,))
    low = keras.layers.Dense(5, "tanh", name="low")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(low))
    return students.BranchedStudent.of(model, "low", 2)


def without_data():
    generator = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    return students.DataFreeStudent(generator, *pair())


GROUPS = [
    (peers, losses.MutualDistillation, "peers[1]", lambda s: s.peers[1]),
    (branched, losses.MutualDistillation, "branches[1]", lambda s: s.branch(1)),
    (without_data, losses.DataFreeDistillation, "student", lambda s: s.student),
]


def distil_group(student, loss):
    distiller = keras_kd.Distiller(None, student, loss(), None, 0.0)
    return compiled(distiller, rate=0.5, loss=None)


@pytest.mark.parametrize(("make", "loss", "part", "plain"), GROUPS)
def test_the_student_checkpoint_of_a_part(tmp_path, make, loss, part, plain):
    """The machine that serves one peer need not know of the others, nor of keras_kd."""
    path = tmp_path / "{epoch}.keras"
    checkpoint = keras_kd.callbacks.StudentCheckpoint(path, part=part)
    distiller = distil_group(make(), loss)
    for epoch in (1, 2):  # The second fit begins with the values of the first.
        distiller.fit(
            X,
            epochs=epoch,
            initial_epoch=epoch - 1,
            verbose=0,
            callbacks=[checkpoint],
        )
        file = tmp_path / f"{epoch}.keras"
        assert "keras_kd" not in zipfile.ZipFile(file).read("config.json").decode()
        loaded = keras.saving.load_model(file)
        expected = plain(distiller.student)
        assert_same(values_of(loaded.variables), values_of(expected.variables))
        np.testing.assert_array_equal(outputs(loaded, X), outputs(expected, X))


def test_the_student_checkpoint_of_a_part_in_the_middle_of_an_epoch(tmp_path):
    """On JAX the peer's values live in the compiled step, as the student's do."""
    distiller = distil_group(peers(), losses.MutualDistillation)
    saved = keras_kd.callbacks.StudentCheckpoint(
        tmp_path / "{batch}.weights.h5",
        save_weights_only=True,
        save_freq=1,
        part="peers[0]",
    )
    distiller.fit(X, batch_size=4, callbacks=[saved], verbose=0)
    first, last = (classifier(5) for _ in range(2))
    first.load_weights(tmp_path / "1.weights.h5")
    last.load_weights(tmp_path / "2.weights.h5")
    peer = distiller.student.peers[0]
    assert_same(values_of(last.variables), values_of(peer.variables))
    pairs = zip(values_of(first.variables), values_of(last.variables), strict=True)
    assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize(("make", "loss", "part", "plain"), GROUPS)
def test_the_student_checkpoint_asks_for_the_part(tmp_path, make, loss, part, plain):
    """The file would open only where keras_kd is installed, found out on that day."""
    distiller = distil_group(make(), loss)
    before = values_of(distiller.student.variables)
    checkpoint = keras_kd.callbacks.StudentCheckpoint(tmp_path / "student.keras")
    wanted = re.escape(f'Pass part="{re.sub(r"[0-9]", "0", part)}"')
    with pytest.raises(ValueError, match=wanted):
        distiller.fit(X, callbacks=[checkpoint], verbose=0)
    assert_same(values_of(distiller.student.variables), before)
    assert not list(tmp_path.iterdir())


def test_the_student_checkpoint_asks_for_a_part_of_the_part(tmp_path):
    """A group inside of another would get past the check of the student."""
    generator = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    student = students.DataFreeStudent(generator, classifier(), peers())
    checkpoint = keras_kd.callbacks.StudentCheckpoint(
        tmp_path / "student.keras", part="student"
    )
    checkpoint.set_model(keras_kd.Distiller(None, student, losses.MutualDistillation()))
    with pytest.raises(ValueError, match=re.escape('part="student/peers[0]"')):
        checkpoint.on_train_begin()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("peers[2]", r"No layer 'peers\[2\]' in the student"),
        ("peers[0]/hidden", "must be the path of a Keras model.*another layer"),
    ],
)
def test_the_student_checkpoint_of_a_wrong_part(tmp_path, part, message):
    """It would fail at the end of the first epoch, when the work is done."""
    distiller = distil_group(peers(), losses.MutualDistillation)
    checkpoint = keras_kd.callbacks.StudentCheckpoint(
        tmp_path / "student.keras", part=part
    )
    with pytest.raises(ValueError, match=message):
        distiller.fit(X, callbacks=[checkpoint], verbose=0)


@pytest.mark.parametrize("part", [0, ""])
def test_the_part_is_a_path(part):
    with pytest.raises(ValueError, match="`part` must be None or the path"):
        keras_kd.callbacks.StudentCheckpoint("student.keras", part=part)


def test_early_stopping_restores_the_best_weights():
    """It would restore half of the models, or the teacher's weights too."""
    distiller = projecting(rate=0.1)
    teacher = values_of(distiller.teacher.variables)
    epochs = EachEpoch()
    # The loss falls, so the first epoch is the best in this mode.
    stop = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=2, restore_best_weights=True
    )
    fit_steps(distiller, X, Y, steps=9, callbacks=[epochs, stop])
    assert len(epochs.weights) == 3
    assert_same(values_of(distiller.student.variables), epochs.weights[0])
    assert_same(values_of(distiller.teacher.variables), teacher)
    fit_steps(distiller, X, Y)


def test_the_learning_rate_can_be_reduced_on_a_plateau():
    """The callback looks for the optimizer at the model that it watches."""
    distiller = distil(*pair(), rate=1.0)
    plateau = keras.callbacks.ReduceLROnPlateau(
        "loss", factor=0.5, patience=1, min_delta=1e9
    )
    fit_steps(distiller, X, Y, steps=3, callbacks=[plateau])
    assert float(distiller.optimizer.learning_rate) == pytest.approx(0.25)


def test_backup_and_restore_goes_on_after_an_interruption(tmp_path):
    """A training stopped by the cluster would have to start again."""

    def interrupt(epoch, logs):
        if epoch == 1:
            raise KeyboardInterrupt

    distiller = projecting(rate=0.1)
    fit = {"epochs": 4, "batch_size": 8, "verbose": 0, "shuffle": False}
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        distiller.fit(X, Y, callbacks=[backup, stop], **fit)
    assert int(distiller.optimizer.iterations) == 1
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    history = distiller.fit(X, Y, callbacks=[backup], **fit)
    assert history.epoch == [1, 2, 3]
    assert int(distiller.optimizer.iterations) == 4
