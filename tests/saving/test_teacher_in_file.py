"""The Distiller's file holds the teacher, or asks for it, and never makes one up."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.saving import load_model

import keras_kd
from tests.saving import runs


def arrays_in(path):
    """Return the names and shapes of the arrays in a `.keras` or `.weights.h5` file."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item.shape

    if path.suffix == ".keras":
        content = io.BytesIO(zipfile.ZipFile(path).read("model.weights.h5"))
    else:
        content = path
    with h5py.File(content) as file:
        file.visititems(visit)
    return found


def answers(teacher):
    x = keras.ops.convert_to_tensor(runs.Shuffled().x)
    return keras.ops.convert_to_numpy(teacher(x))


def logits_distiller(teacher, epochs=1, **kwargs):
    """Return a small Distiller that has trained for some epochs."""
    keras.utils.set_random_seed(6)
    student = keras.Sequential([keras.Input((8, 8, 2)), layers.Flatten()])
    student.add(layers.Dense(3))
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(), **kwargs
    )
    distiller.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    runs.fit(distiller, stop=epochs)
    return distiller


def function_teacher(x):
    """A teacher that is no Keras object, as a remote model would be."""
    return keras.ops.mean(x, axis=(1, 2)) @ keras.ops.ones((2, 3))


def unserialisable_teacher():
    keras.utils.set_random_seed(8)
    body = keras.Sequential([layers.Flatten(), layers.Dense(3)])
    teacher = runs.Unserialisable(body)
    teacher(np.zeros((1, 8, 8, 2), "float32"))
    return teacher


def called_teacher():
    keras.utils.set_random_seed(8)
    teacher = runs.Called()
    teacher(np.zeros((1, 8, 8, 2), "float32"))
    return teacher


@pytest.mark.parametrize("make", [runs.make_teacher, called_teacher])
def test_saved_teacher_answers_the_same(make, tmp_path):
    """A teacher that came back with other weights would teach something else."""
    teacher = make()
    before = answers(teacher)
    distiller = logits_distiller(teacher)
    distiller.save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras")
    assert loaded.teacher is not teacher
    assert np.array_equal(answers(loaded.teacher), before)
    assert loaded.get_config()["teacher"] is not None


def test_file_without_teacher(tmp_path):
    """A teacher of gigabytes must not be copied into every file of a small student."""
    teacher = runs.make_teacher()
    distiller = runs.make_distiller(teacher, save_teacher=False)
    runs.fit(distiller, stop=1)
    own = sorted(tuple(variable.shape) for variable in distiller.weights)
    biggest = max(tuple(v.shape) for v in teacher.variables)
    for name in ("distiller.keras", "all.weights.h5"):
        path = tmp_path / name
        save = distiller.save if path.suffix == ".keras" else distiller.save_weights
        save(path)
        arrays = arrays_in(path)
        assert arrays
        assert not [name for name in arrays if "teacher" in name]
        assert biggest not in arrays.values()
        held = [shape for name, shape in arrays.items() if name.startswith("layers/")]
        assert sorted(held) == own
    archive = zipfile.ZipFile(tmp_path / "distiller.keras")
    config = json.loads(archive.read("config.json"))
    assert config["config"]["teacher"] is None
    # With the teacher the same file holds more.
    runs.make_distiller(teacher).save(tmp_path / "with_teacher.keras")
    assert biggest in arrays_in(tmp_path / "with_teacher.keras").values()


def test_load_model_names_load_distiller(tmp_path):
    """A random teacher in the place of the missing one would ruin the training."""
    logits_distiller(runs.make_teacher(), save_teacher=False).save(
        tmp_path / "distiller.keras"
    )
    with pytest.raises(ValueError, match="load_distiller"):
        load_model(tmp_path / "distiller.keras")
    with pytest.raises(ValueError, match="load_distiller"):
        keras_kd.load_distiller(tmp_path / "distiller.keras")


@pytest.mark.parametrize("save_teacher", [False, True])
def test_load_distiller_resumes_with_the_given_teacher(save_teacher, tmp_path):
    """The teacher at hand goes on teaching, and comes to no harm by the loading."""
    whole = logits_distiller(runs.make_teacher(), epochs=2)
    saved = logits_distiller(runs.make_teacher(), save_teacher=save_teacher)
    # Where the file holds a teacher, it is another one than that at hand.
    saved.teacher.set_weights([0.5 * w for w in saved.teacher.get_weights()])
    saved.save(tmp_path / "distiller.keras")

    teacher = runs.make_teacher()
    flags = [layer.trainable for layer in teacher.layers]
    before = [weight.copy() for weight in teacher.get_weights()]
    loaded = keras_kd.load_distiller(tmp_path / "distiller.keras", teacher=teacher)
    assert loaded.teacher is teacher
    runs.fit(loaded, start=1, stop=2)
    for got, wanted in zip(teacher.get_weights(), before, strict=True):
        assert np.array_equal(got, wanted)
    assert [layer.trainable for layer in teacher.layers] == flags
    runs.assert_same_state(runs.state_of(loaded), runs.state_of(whole))


@pytest.mark.parametrize(
    "make",
    [lambda: function_teacher, unserialisable_teacher],
    ids=["function", "class"],
)
def test_teacher_that_cannot_be_serialised(make, tmp_path):
    """Such a teacher must not make saving fail after hours of training."""
    teacher = make()
    before = answers(teacher)
    distiller = logits_distiller(teacher)
    assert distiller.get_config()["asks_for_teacher"]
    distiller.save(tmp_path / "distiller.keras")
    distiller.save_weights(tmp_path / "all.weights.h5")
    assert not [n for n in arrays_in(tmp_path / "distiller.keras") if "teacher" in n]
    assert not [n for n in arrays_in(tmp_path / "all.weights.h5") if "teacher" in n]
    with pytest.raises(ValueError, match="load_distiller"):
        load_model(tmp_path / "distiller.keras")
    loaded = keras_kd.load_distiller(tmp_path / "distiller.keras", teacher=teacher)
    for got, wanted in zip(
        loaded.student.get_weights(), distiller.student.get_weights(), strict=True
    ):
        assert np.array_equal(got, wanted)
    histories = [runs.fit(d, start=1, stop=2) for d in (distiller, loaded)]
    assert histories[0] == histories[1]
    assert np.array_equal(answers(teacher), before)


def test_distiller_without_teacher(tmp_path):
    """Where no loss reads a teacher there is none to ask for."""
    student = keras.Sequential([keras.Input((8, 8, 2)), layers.Flatten()])
    student.add(layers.Dense(3))
    distiller = keras_kd.Distiller(None, student, StudentNorm())
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    runs.fit(distiller, stop=1)
    distiller.save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras")
    assert loaded.teacher is None
    assert runs.fit(loaded, start=1, stop=2) == runs.fit(distiller, start=1, stop=2)


@keras.saving.register_keras_serializable(package="tests_saving")
class StudentNorm(keras_kd.DistillationLoss):
    """A loss that looks at the student only."""

    def teacher_signals(self):
        return None

    def validate_outputs(self, teacher_outputs, student_outputs):
        pass

    def call(self, teacher, student, step):
        return keras.ops.mean(keras.ops.square(student), axis=-1)


def test_untrained_distiller(tmp_path):
    """Some save before they train, to send a job to another machine.

    The optimizer must wait for the projectors that the first batch brings.
    """
    runs.make_distiller().save(tmp_path / "distiller.keras")
    loaded = load_model(tmp_path / "distiller.keras")
    history = runs.fit(loaded, stop=1)
    assert np.isfinite(history["feature_distillation"]).all()
    assert len(loaded.trainable_variables) == 8
    assert len(loaded.optimizer.variables) == 1 + 2 * 8
