"""The student is a plain Keras model, at home where keras_kd is not installed."""

import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_kd.callbacks import StudentCheckpoint
from tests.saving import runs
from tests.saving.test_teacher_in_file import arrays_in

PLAIN_KERAS = """
import sys
sys.modules["keras_kd"] = None  # any import of it raises
import keras, numpy as np
try:
    import keras_kd
except ImportError:
    pass
else:
    raise SystemExit("keras_kd is importable here")
folder = sys.argv[1]
for name in sys.argv[2:]:
    student = keras.saving.load_model(f"{folder}/{name}.keras")
    x = np.load(f"{folder}/x.npy")
    np.save(f"{folder}/{name}.npy", keras.ops.convert_to_numpy(student(x)))
"""


class SaveFromCallback(keras.callbacks.Callback):
    """Saves the student in the middle of an epoch, as users do by hand."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            self.model.student.save(self.path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained Distiller and a folder with three files of its student."""
    folder = tmp_path_factory.mktemp("students")
    distiller = runs.make_distiller()
    callbacks = [
        StudentCheckpoint(str(folder / "checkpoint.keras")),
        StudentCheckpoint(str(folder / "only.weights.h5"), save_weights_only=True),
        SaveFromCallback(folder / "callback.keras"),
    ]
    runs.fit(distiller, stop=1, callbacks=callbacks)
    distiller.student.save(folder / "after.keras")
    return distiller, folder


NAMES = ["after", "checkpoint", "callback"]


@pytest.mark.parametrize("name", NAMES)
def test_file_holds_the_student_alone(trained, name):
    """Teacher or projector in the file would make the small model large again."""
    distiller, folder = trained
    shapes = sorted(tuple(variable.shape) for variable in distiller.student.weights)
    arrays = arrays_in(folder / f"{name}.keras")
    # A Dropout keeps its seed there.
    held = {key: shape for key, shape in arrays.items() if "seed" not in key}
    assert sorted(held.values()) == shapes
    assert not [key for key in arrays if "teacher" in key or "loss" in key]
    config = zipfile.ZipFile(folder / f"{name}.keras").read("config.json").decode()
    assert json.loads(config)["class_name"] == "Functional"
    assert "keras_kd" not in config
    assert "projector" not in config


def test_weights_file_fits_a_plain_student(trained):
    """Weights alone are what many deployments take."""
    distiller, folder = trained
    plain = runs.make_student()
    plain.load_weights(folder / "only.weights.h5")
    for got, wanted in zip(
        plain.get_weights(), distiller.student.get_weights(), strict=True
    ):
        assert np.array_equal(got, wanted)


def test_opens_without_keras_kd(trained):
    """The machine that serves the student need not know how it was trained."""
    distiller, folder = trained
    x = runs.Shuffled().x[:4]
    np.save(folder / "x.npy", x)
    # Isolated and from another folder: neither PYTHONPATH nor this checkout counts.
    command = [sys.executable, "-I", "-c", PLAIN_KERAS, str(folder), *NAMES]
    subprocess.run(command, check=True, cwd=folder, env=os.environ, timeout=300)
    wanted = keras.ops.convert_to_numpy(distiller.student(x))
    for name in NAMES:
        assert np.array_equal(np.load(folder / f"{name}.npy"), wanted), name


def test_student_classes_stay_plain(trained):
    """Taps borrow a layer's class in the forward pass and must give it back."""
    distiller, _ = trained
    for layer in distiller.student.layers:
        assert type(layer).__module__.startswith("keras.")
        assert type(layer) is getattr(keras.layers, type(layer).__name__)
    assert type(distiller.student) is type(runs.make_student())
