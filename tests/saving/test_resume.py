"""A training that was interrupted goes on as if nothing had happened, bit for bit."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras.saving import load_model

from tests.saving import runs


class Interruption(Exception):
    """Stands for the power that fails."""


class Interrupt(keras.callbacks.Callback):
    """Raises before an epoch, or after a batch of it."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.epoch, self.batch, self.now = epoch, batch, None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch
        if epoch == self.epoch and self.batch is None:
            raise Interruption

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise Interruption


@pytest.fixture(scope="module")
def uninterrupted():
    """The state after six epochs, and the logs of each."""
    distiller = runs.make_distiller()
    history = runs.fit(distiller)
    return runs.state_of(distiller), history


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A Distiller whose training was interrupted, and the folder of its checkpoints."""
    folder = tmp_path_factory.mktemp("interrupted")
    distiller = runs.make_distiller()
    callbacks = [
        keras.callbacks.BackupAndRestore(str(folder / "backup")),
        keras.callbacks.ModelCheckpoint(
            str(folder / "{epoch}.weights.h5"), save_weights_only=True
        ),
        Interrupt(runs.STOP),
    ]
    with pytest.raises(Interruption):
        runs.fit(distiller, callbacks=callbacks)
    distiller.save(folder / "distiller.keras")
    return distiller, folder


def test_the_training_has_everything_in_it(uninterrupted, interrupted):
    """A test of resuming is worth as much as what there is to lose."""
    state, history = uninterrupted
    teacher = {key for key in state if key.startswith("teacher")}
    frozen = runs.make_teacher().weights
    assert len(teacher) == len(frozen) > 0
    for place, variable in enumerate(frozen):
        value = keras.ops.convert_to_numpy(variable)
        assert np.array_equal(state[f"teacher_{place}"], value)
    halfway = runs.state_of(interrupted[0])
    moved = {key for key in state if not np.array_equal(state[key], halfway[key])}
    # All but the teacher, whether trained, averaged or drawn.
    assert moved == set(state) - teacher
    assert {"accuracy", "feature_distillation", "attention_transfer"} < set(history)


def test_loaded_in_the_same_process(uninterrupted, interrupted):
    """Whoever stops for the night must get the model of an unbroken run."""
    distiller, folder = interrupted
    loaded = load_model(folder / "distiller.keras")
    runs.assert_same_state(runs.state_of(loaded), runs.state_of(distiller))
    history = runs.fit(loaded, start=runs.STOP)
    wanted, whole = uninterrupted
    runs.assert_same_state(runs.state_of(loaded), wanted)
    assert history == {name: values[runs.STOP :] for name, values in whole.items()}


def test_loaded_in_a_fresh_process(uninterrupted, interrupted, tmp_path):
    """Nothing of a training may live in the memory of a process alone."""
    command = [sys.executable, "-m", "tests.saving.finish"]
    command += [str(interrupted[1] / "distiller.keras"), str(tmp_path / "state.npz")]
    subprocess.run(command, check=True, env=os.environ, timeout=300)
    with np.load(tmp_path / "state.npz") as state:
        runs.assert_same_state(dict(state), uninterrupted[0])


def test_weights_loaded_into_a_new_distiller(uninterrupted, interrupted):
    """The checkpoint of weights must bring projectors and optimizer back too.

    Keras passes over the weights of what is not built yet; the projectors would start
    anew beside a trained student.
    """
    distiller, folder = interrupted
    checkpoint = folder / f"{runs.STOP}.weights.h5"
    fresh = runs.make_distiller()
    fresh.load_weights(checkpoint)
    runs.assert_same_state(runs.state_of(fresh), runs.state_of(distiller))
    runs.fit(fresh, start=runs.STOP)
    runs.assert_same_state(runs.state_of(fresh), uninterrupted[0])
    # And once more, into one that has trained since.
    fresh.load_weights(checkpoint)
    runs.assert_same_state(runs.state_of(fresh), runs.state_of(distiller))


def test_weights_loaded_after_a_call(interrupted):
    """Keras advises to build a model by calling it, which shows no teacher's signal."""
    distiller, folder = interrupted
    called = runs.make_distiller()
    called(runs.Shuffled()[0][0])
    called.load_weights(folder / f"{runs.STOP}.weights.h5")
    runs.assert_same_state(runs.state_of(called), runs.state_of(distiller))


def test_backup_and_restore(uninterrupted, interrupted):
    """Keras's own callback for machines that may be taken away must work."""
    fresh = runs.make_distiller()
    backup = keras.callbacks.BackupAndRestore(str(interrupted[1] / "backup"))
    # The backup knows the epoch; the data do not.
    fresh.fit(
        runs.Shuffled(runs.STOP),
        epochs=runs.EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[backup],
    )
    runs.assert_same_state(runs.state_of(fresh), uninterrupted[0])


def test_interrupted_distiller_goes_on(uninterrupted):
    """In a notebook one interrupts, looks, and calls fit again on the same object.

    The second interruption comes after the very last batch, when all steps are done.
    """
    distiller = runs.make_distiller()
    with pytest.raises(Interruption):
        runs.fit(distiller, callbacks=[Interrupt(runs.STOP)])
    last_batch = Interrupt(runs.EPOCHS - 1, batch=2)
    with pytest.raises(Interruption):
        runs.fit(distiller, start=runs.STOP, callbacks=[last_batch])
    runs.assert_same_state(runs.state_of(distiller), uninterrupted[0])
