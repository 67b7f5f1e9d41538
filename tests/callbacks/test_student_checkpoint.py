"""The direction of a monitored metric is known without being told."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd import _backend
from keras_kd.callbacks import StudentCheckpoint

X = np.eye(4, dtype="float32")
Y = np.array([0, 1, 2, 0])


def distiller(metrics):
    def classifier():
        dense = keras.layers.Dense(3, use_bias=False, kernel_initializer="zeros")
        return keras.Sequential([keras.Input((4,)), dense])

    loss = keras_kd.LogitsDistillation(2.0, name="gap")
    made = keras_kd.Distiller(classifier(), classifier(), loss, 1.0)
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.0), task, metrics=metrics)
    return made


def fitted(distiller, path, monitor):
    """Let the student get right and then wrong; return its logs and the saved file."""
    # The second epoch climbs down the task loss, the third up again and beyond.
    rates = keras.callbacks.LearningRateScheduler([0.0, 8.0, -40.0].__getitem__)
    best = StudentCheckpoint(path, monitor=monitor, save_best_only=True)
    logs = distiller.fit(
        X, Y, epochs=3, validation_data=(X, Y), callbacks=[rates, best], verbose=0
    ).history
    saved = keras.saving.load_model(path)
    return logs, keras.ops.convert_to_numpy(saved(X))


@pytest.mark.parametrize(
    ("metrics", "monitor"),
    [
        (["accuracy"], "val_accuracy"),
        ([keras.metrics.SparseCategoricalAccuracy(name="right")], "val_right"),
        ([], "val_loss"),
        ([], "val_student_loss"),
        ([], "val_total_loss"),
    ],
)
def test_the_best_epoch_is_saved_as_by_model_checkpoint(metrics, monitor, tmp_path):
    """It raised for every metric, where ModelCheckpoint asks the compiled metrics."""
    logs, logits = fitted(distiller(metrics), tmp_path / "student.keras", monitor)
    values = logs[monitor]
    best = max(values) if metrics else min(values)
    assert values[1] == best
    assert values[0] != best != values[2]
    np.testing.assert_array_equal(np.argmax(logits, -1), Y)


def test_a_worse_value_is_not_saved_over_a_better(tmp_path):
    """`max` where `min` is meant keeps the worst student, silently."""
    path = tmp_path / "student.keras"
    logs, logits = fitted(distiller([]), path, "val_gap")
    # The teacher gives zeros, as the student does before it learns.
    assert logs["val_gap"][0] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(logits, 0.0, atol=1e-6)


def test_an_unknown_metric_is_refused_as_by_keras(tmp_path):
    """Which direction is better cannot be guessed from a name."""
    with pytest.raises(ValueError, match="mode='max'"):
        fitted(distiller([]), tmp_path / "student.keras", "val_score")


def test_contract_of_the_direction():
    """The private method of Keras that knows it."""
    made = distiller(["accuracy"])
    made.fit(X, Y, verbose=0)
    names = ("val_accuracy", "accuracy", "loss", "val_student_loss", "gap", "score")
    found = [_backend.direction_of(made, name) for name in names]
    assert found == ["max", "max", "min", "min", "min", None]
