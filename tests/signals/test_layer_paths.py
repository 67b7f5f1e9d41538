"""Paths that find the same layer in every instance of a model."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd
from keras_kd.signals.layer_paths import find_layer, path_of
from tests.signals.language_models import TOKENS, VOCABULARY, task

# With features alone, nothing trains the layers above the tap, and Keras says so.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")


def language_model():
    return task(layers.MultiHeadAttention(2, 4), layers.MultiHeadAttention(2, 4))


PATHS = {
    "backbone/transformer_layers[1]": lambda m: m.backbone.transformer_layers[1],
    "backbone/transformer_layers[-1]": lambda m: m.backbone.transformer_layers[1],
    "backbone/transformer_layers[0]/attention/query": lambda m: (
        m.backbone.transformer_layers[0].attention.query_dense
    ),
    "backbone/layers[1]": lambda m: m.backbone.layers[1],
    "backbone": lambda m: m.backbone,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_reads_as_python_does(path):
    """`Task.backbone` is a property: only a name with a changing number was found."""
    for _ in range(2):
        model = language_model()
        assert find_layer(model, path, side="student") is PATHS[path](model)


def test_names_in_errors_hold_for_every_instance():
    """A name that was offered for one instance did not exist in the next."""
    first, second = language_model(), language_model()
    with pytest.raises(ValueError, match="No layer 'backbone/transformer'") as caught:
        find_layer(first, "backbone/transformer", side="student")
    offered = str(caught.value).partition("Did you mean ")[2].strip("?").split(", ")
    assert offered
    for path in offered:
        assert find_layer(second, path.strip("'"), side="student")


def test_a_layer_object_is_saved_by_a_path_that_lasts():
    """A saved loss must find its layer in the model that is built anew."""
    first, second = language_model(), language_model()
    layer = first.backbone.transformer_layers[1].norm
    assert path_of(first, layer) == "backbone/transformer_layers[1]/norm"
    tap = keras_kd.Tap(layer)
    tap.bind(first, side="student")
    again = keras_kd.Tap.from_config(tap.get_config())
    found = again.find(second, side="student")
    assert found is second.backbone.transformer_layers[1].norm


class Holder(layers.Layer):
    """Holds layers in every way that Python knows."""

    def __init__(self):
        super().__init__()
        self.towers = {"image": layers.ReLU(), "text": layers.ReLU()}
        self._parts = [layers.ReLU(), layers.ReLU()]
        self._other = layers.ReLU()

    @property
    def last(self):
        return self._parts[-1]

    @property
    def parts(self):
        return tuple(self._parts)

    @property
    def broken(self):
        raise RuntimeError("not yet")

    @property
    def foreign(self):
        return layers.ReLU()


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("towers[text]", lambda h: h.towers["text"]),
        ("last", lambda h: h._parts[1]),
        ("parts[0]", lambda h: h._parts[0]),
    ],
)
def test_dicts_and_computed_properties(path, layer):
    """All ways to hold a layer are the same to a user."""
    holder = Holder()
    assert find_layer(holder, path, side="teacher") is layer(holder)


@pytest.mark.parametrize(
    "path",
    [
        "broken",
        "foreign",
        "parts[7]",
        "parts[x]",
        "towers[x]",
        "name",
        "last[0]",
        "a b",
    ],
)
def test_what_is_no_part_is_not_found(path):
    """An attribute of another kind must give the message, not an error of its own."""
    with pytest.raises(ValueError, match="No layer '"):
        find_layer(Holder(), path, side="teacher")


def test_the_block_of_a_task_distils():
    """The whole way: the path that is natural to write gives the right features."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (4, TOKENS)).astype("int32")
    path = "backbone/transformer_layers[1]"
    teacher, student = language_model(), language_model()
    loss = keras_kd.FeatureDistillation("mse", path, path, name="term")
    distiller = keras_kd.Distiller(teacher, student, loss)
    distiller.compile("adam")
    logs = distiller.fit(ids, batch_size=4, epochs=3, verbose=0).history["term"]
    assert logs[-1] < logs[0]
    blocks = [m.backbone.transformer_layers[1] for m in (teacher, student)]
    features = []
    for model, block in zip((teacher, student), blocks, strict=True):
        tap = keras_kd.Tap(block)
        with keras_kd.signals.recording.recording(model, [tap], side="student") as r:
            model(ids)
        features.append(keras.ops.convert_to_numpy(tap.value(r)))
    told = distiller.evaluate(ids, verbose=0, return_dict=True)["term"]
    wanted = np.mean((features[0] - features[1]) ** 2)
    assert told == pytest.approx(wanted, rel=1e-4)
