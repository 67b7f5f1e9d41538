"""A Distiller whose teacher and student share a layer, through its file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd

Y = np.array([0, 1, 0, 1])
X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def functional(shared, width, *, twice=False):
    inputs = keras.Input((3,))
    x = shared(inputs)
    x = shared(x) if twice else x
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(width, "relu")(x)))


def sequential(shared, width):
    return keras.Sequential(
        [keras.Input((3,)), shared, layers.Dense(width, "relu"), layers.Dense(2)]
    )


def nested(shared, width):
    inputs = keras.Input((3,))
    inner = keras.Input((3,))
    trunk = keras.Model(inner, layers.Dense(width, "relu")(shared(inner)))
    return keras.Model(inputs, layers.Dense(2)(trunk(inputs)))


PAIRS = {
    "functional": (functional, functional),
    "sequential": (sequential, functional),
    "to_sequential": (functional, sequential),
    "nested": (nested, nested),
    "to_nested": (functional, nested),
    "twice": (
        lambda shared, width: functional(shared, width, twice=True),
        lambda shared, width: functional(shared, width, twice=True),
    ),
}


def saved_and_loaded(teacher, student, x, path):
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation(2.0))
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    distiller.fit(x, Y, batch_size=4, verbose=0)
    distiller.save(path)
    return distiller, keras.saving.load_model(path)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_shared_layer_is_shared_after_loading(pair, tmp_path):
    """It was saved and could never be loaded: a long training was lost."""
    shared = layers.Dense(3, activation="tanh", name="shared")
    teacher, student = (
        make(shared, width) for make, width in zip(PAIRS[pair], (8, 4), strict=True)
    )
    path = tmp_path / "distiller.keras"
    distiller, loaded = saved_and_loaded(teacher, student, X, path)
    for side in ("teacher", "student"):
        before, after = getattr(distiller, side), getattr(loaded, side)
        np.testing.assert_allclose(
            before.predict(X, verbose=0), after.predict(X, verbose=0), rtol=1e-5
        )
    found = [
        next(la for la in model._flatten_layers() if la.name == "shared")
        for model in (loaded.teacher, loaded.student)
    ]
    assert found[0] is found[1]
    logs = [d.fit(X, Y, batch_size=4, verbose=0).history for d in (distiller, loaded)]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-5)
    # What was loaded can be saved again.
    loaded.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(
        again.student.predict(X, verbose=0),
        loaded.student.predict(X, verbose=0),
        rtol=1e-5,
    )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="no tensor of text elsewhere"
)
@pytest.mark.filterwarnings("ignore:The teacher .* had no weights")
def test_a_shared_vectorization_of_text(tmp_path):
    """The layer that is shared most often: it has a vocabulary and no weights."""
    text = np.array(["red apple", "blue sky", "green tree", "red sky"], object)
    vectorize = layers.TextVectorization(output_sequence_length=2)
    vectorize.adapt(text.astype(str))

    def reader(width):
        inputs = keras.Input((), dtype="string")
        x = layers.Embedding(10, width)(vectorize(inputs))
        return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))

    path = tmp_path / "distiller.keras"
    distiller, loaded = saved_and_loaded(reader(8), reader(4), text, path)
    told = [d.evaluate(text, Y, verbose=0) for d in (distiller, loaded)]
    np.testing.assert_allclose(told[0], told[1], rtol=1e-5)
