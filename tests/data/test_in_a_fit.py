"""What reaches the step of a Distiller of batches that have an order."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd import data
from tests.training.helpers import CROSSENTROPY

ROWS = 32
X = np.arange(ROWS, dtype="float32")[:, None] * np.ones((1, 3), "float32")
Y = np.zeros(ROWS, "int32")
KINDS = (data.ShuffledBatches, data.OverlappingBatches)
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Recorder(keras.layers.Layer):
    """Passes its input through and keeps its first column, in eager steps."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []
        self.built = True

    def call(self, x, training=False):
        if training:
            rows = keras.ops.convert_to_numpy(x)[:, 0]
            self.seen.append(rows.astype(int).tolist())
        return x


def distiller_and_recorder():
    recorder = Recorder()
    recorder.__dict__["seen"] = []
    student = keras.Sequential([recorder, keras.layers.Dense(3)])
    teacher = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    distiller = keras_kd.Distiller(
        teacher,
        student,
        keras_kd.LogitsDistillation(1.0),
        student_inputs=data.without_sample_ids,
        teacher_inputs=data.without_sample_ids,
    )
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY, run_eagerly=True)
    return distiller, recorder


def wanted(kind, epochs):
    """The rows of the batches of these epochs, read without Keras."""
    rows = []
    for epoch in epochs:
        batches = kind(X, Y, 4, seed=3, epoch=epoch)
        for place in range(len(batches)):
            x = data.without_sample_ids(batches[place][0])
            rows.append(x[:, 0].astype(int).tolist())
    return rows


@EACH
@pytest.mark.parametrize("workers", [1, 2])
def test_every_step_gets_the_batch_of_its_place(kind, workers):
    """A first epoch in another order breaks the overlap, and no run repeats it."""
    distiller, recorder = distiller_and_recorder()
    batches = kind(X, Y, 4, seed=3, workers=workers)
    distiller.fit(batches, epochs=2, verbose=0)  # `shuffle` is Keras's default
    assert recorder.seen == wanted(kind, range(2))
    recorder.seen.clear()
    distiller.fit(batches, epochs=3, initial_epoch=2, shuffle=True, verbose=0)
    assert recorder.seen == wanted(kind, [2])
    recorder.seen.clear()
    resumed, other = distiller_and_recorder()
    resumed.fit(kind(X, Y, 4, seed=3, epoch=1, workers=workers), verbose=0)
    assert other.seen == wanted(kind, [1])


def test_workers_of_any_data_set():
    """What Keras reads to build the model must not be missing in the first epoch."""

    class Plain(keras.utils.PyDataset):
        def __len__(self):
            return 8

        def __getitem__(self, place):
            return X[4 * place : 4 * place + 4], Y[4 * place : 4 * place + 4]

    distiller, recorder = distiller_and_recorder()
    distiller.fit(Plain(workers=2), epochs=2, shuffle=False, verbose=0)
    assert recorder.seen == 2 * [
        row.astype(int).tolist() for row in np.split(X[:, 0], 8)
    ]


def test_an_epoch_that_is_cut_short():
    """Keras would go on in the middle of the next epoch's order."""
    distiller, recorder = distiller_and_recorder()
    batches = data.ShuffledBatches(X, Y, 4, seed=3)
    with pytest.raises(
        ValueError, match="`steps_per_epoch` must be None.*of 8 batches"
    ):
        distiller.fit(batches, steps_per_epoch=3, epochs=2, verbose=0)
    assert batches.epoch == 0
    distiller.fit(batches, steps_per_epoch=8, epochs=2, verbose=0)
    assert recorder.seen == wanted(data.ShuffledBatches, range(2))


def views_distiller():
    student = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)]
    )
    distiller = keras_kd.Distiller(
        None,
        student,
        keras_kd.losses.ViewAgreementDistillation(),
        student_inputs=data.without_sample_ids,
    )
    distiller.compile(keras.optimizers.SGD(0.01), CROSSENTROPY)
    return distiller


@pytest.mark.parametrize("evaluated_first", [False, True])
def test_views_are_validated_on_arrays(evaluated_first):
    """What training needs, ids and views, an evaluation on arrays has not.

    Whoever loses the run after its first epoch has no agreement to look at either.
    """
    distiller, name = views_distiller(), "view_agreement_distillation"
    x = X / ROWS
    if evaluated_first:
        logs = distiller.evaluate(x, Y, verbose=0, return_dict=True)
        assert logs[name] == 0.0
        assert logs["student_loss"] > 0.0
    batches = data.Views(x, Y, 8, seed=3)
    log = distiller.fit(batches, validation_data=(x, Y), epochs=2, verbose=0).history
    assert log[f"val_{name}"] == [0.0, 0.0]
    assert min(log[name]) > 0.0
    # With ids, an evaluation has its views, too: equal ones, without dropout.
    again = data.Views(x, Y, 8, lambda x, random: x + random.normal(size=x.shape))
    assert distiller.evaluate(again, verbose=0, return_dict=True)[name] > 0.0


def test_a_training_without_ids_is_still_refused():
    """There is nothing to agree with, and no epoch would say so."""
    distiller = views_distiller()
    before = distiller.student.get_weights()
    with pytest.raises(ValueError, match="`sample_ids` must be a key of the batch's x"):
        distiller.fit(X, Y, verbose=0)
    for old, new in zip(before, distiller.student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
