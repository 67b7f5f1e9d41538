"""What does not count may hold anything: it reaches neither a value nor a weight."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd import FeatureDistillation, losses
from tests.training.helpers import assert_same, copy_of, data, pair, values_of

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
METHODS = {
    "kd": losses.LogitsDistillation,
    "jsd": lambda: losses.get("jsd"),
    "reverse_kl": lambda: losses.get("reverse_kl"),
    "nkd": losses.NormalizedDistillation,
    "logit_mse": lambda: losses.get("logit_mse"),
    "dist": losses.CorrelationDistillation,
    "rkd": losses.RelationalDistillation,
    "hint": lambda: FeatureDistillation("mse", "hidden", "hidden"),
}


@keras.saving.register_keras_serializable("tests")
class NaNOfZeros(layers.Layer):
    """Returns NaN for each row or token of which the first feature is 0."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, features):
        wrong = ops.equal(features[..., :1], 0.0)
        return ops.where(wrong, ops.full_like(x, float("nan")), x)


def with_nan(teacher):
    """Return the teacher with NaN in all outputs of some rows."""
    inputs = keras.Input(teacher.input_shape[1:])
    x = inputs
    for layer in teacher.layers:
        x = NaNOfZeros(name=f"of_{layer.name}")(layer(x), inputs)
    model = keras.Model(inputs, x)
    return model


def distil(teacher, student, loss, x, y, weight):
    distiller = keras_kd.Distiller(teacher, student, loss, None, 0.5)
    distiller.compile(keras.optimizers.SGD(0.1), CROSSENTROPY)
    logs = distiller.fit(
        x, y, sample_weight=weight, batch_size=len(x), epochs=2, verbose=0
    ).history
    return distiller, logs


@pytest.mark.parametrize("method", METHODS)
def test_nan_in_rows_of_weight_0(method):
    """One broken example of weight 0 would make every weight of the student NaN."""
    x, y = data(8)
    x[[1, 4], 0] = 0.0
    weight = np.where(x[:, 0] == 0.0, 0.0, 1.0).astype("float32")
    teacher, student = pair()
    other = copy_of(student)
    loss = METHODS[method]()
    if method == "hint":
        loss = FeatureDistillation("mse", "of_hidden", "hidden")
    keras.utils.set_random_seed(0)
    broken, logs = distil(with_nan(teacher), student, loss, x, y, weight)
    clean = METHODS[method]()
    keras.utils.set_random_seed(0)
    whole, wanted = distil(teacher, other, clean, x, y, weight)
    assert np.isfinite(logs["loss"]).all()
    assert_same(
        values_of(broken.student.weights), values_of(whole.student.weights), rtol=1e-5
    )
    for name in ("loss", "distillation_loss"):
        np.testing.assert_allclose(logs[name], wanted[name], rtol=1e-5)


def tagger(broken=False):
    inputs = keras.Input((None, 3))
    x = layers.Masking()(inputs)
    x = layers.Dense(5, name="hidden")(x)
    x = layers.Dense(4, name="logits")(x)
    if broken:
        x = NaNOfZeros()(x, inputs)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("method", ["kd", "jsd", "nkd", "logit_mse"])
def test_nan_in_masked_tokens(method):
    """Padding of which the teacher makes NaN is what every real batch of text has."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 5, 3)).astype("float32")
    x[1, 3:] = x[2, 1:] = 0.0
    y = random.integers(0, 4, size=(4, 5)).astype("int32")
    keras.utils.set_random_seed(1)
    student, teacher = tagger(), tagger()
    start = student.get_weights()
    ends = []
    for broken in (True, False):
        student.set_weights(start)
        model = tagger(broken)
        model.set_weights(teacher.get_weights())
        distiller, logs = distil(model, student, METHODS[method](), x, y, None)
        assert np.isfinite(logs["loss"]).all()
        ends.append((values_of(student.weights), logs["distillation_loss"]))
    assert_same(ends[0][0], ends[1][0], rtol=1e-5)
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-5)


@pytest.mark.parametrize("method", ["kd", "logit_mse"])
def test_tokens_that_the_task_ignores_teach_nothing(method):
    """Ignored by the labels, they would still pull the student to the teacher."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 5, 3)).astype("float32")
    y = random.integers(0, 4, size=(4, 5)).astype("int32")
    y[:, 3:] = -1
    teacher, student = tagger(), tagger()
    distiller = keras_kd.Distiller(teacher, student, METHODS[method]())
    distiller.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
    )
    logs = distiller.evaluate(x, y, verbose=0, return_dict=True)
    short = keras_kd.Distiller(teacher, student, METHODS[method]())
    short.compile("sgd", CROSSENTROPY)
    wanted = short.evaluate(x[:, :3], y[:, :3], verbose=0, return_dict=True)
    key = "distillation_loss"
    assert logs[key] == pytest.approx(wanted[key], rel=1e-5)


class Padded(keras.Model):
    """A model of KerasHub's convention: the padding is an input, not a Keras mask."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(9, width, name="embedding")
        self.hidden = layers.Dense(width, "tanh", name="hidden")
        self.head = layers.Dense(9, name="head")

    def call(self, inputs):
        return self.head(self.hidden(self.embedding(inputs["token_ids"])))


@pytest.mark.parametrize(
    "loss",
    [
        lambda: losses.get(
            "hint", teacher_layer_name="hidden", student_layer_name="hidden"
        ),
        lambda: losses.LogitsDistillation(2.0),
        lambda: losses.get(
            "rkd", teacher_layer_name="hidden", student_layer_name="hidden"
        ),
    ],
)
def test_padding_that_is_an_input(loss):
    """Other ids in padded places would move hidden-state and attention losses."""
    random = np.random.default_rng(0)
    ids = random.integers(1, 9, size=(4, 6)).astype("int32")
    mask = np.arange(6) < np.array([[6], [4], [2], [3]])
    teacher, student = Padded(7), Padded(5)
    for model in (teacher, student):
        model({"token_ids": ids})
    distiller = keras_kd.Distiller(teacher, student, loss())
    distiller.compile("sgd")
    seen = []
    for other in (0, 5):
        x = {"token_ids": np.where(mask, ids, other), "padding_mask": mask}
        logs = distiller.evaluate(x, verbose=0, return_dict=True)
        seen.append(logs["distillation_loss"])
    assert seen[0] == pytest.approx(seen[1], rel=1e-5)
    assert seen[0] > 1e-4


def test_peers_learn_nothing_from_what_the_task_ignores():
    """Each of several students has the same labels, and the same of them count."""
    x, y = data(8)
    y[:3] = -1
    moved = x.copy()
    moved[:3] += 100.0
    peers = keras_kd.students.PeerGroup([*pair()])
    distiller = keras_kd.Distiller(None, peers, losses.MutualDistillation())
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    distiller.compile("sgd", task)
    one, other = (
        distiller.evaluate(given, y, verbose=0, return_dict=True)
        for given in (x, moved)
    )
    key = "distillation_loss"
    assert one[key] == pytest.approx(other[key], rel=1e-5)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_a_padding_mask_with_axes_of_one(axes):
    """Dropped without a word, the padding would count again."""
    ids = np.random.default_rng(0).integers(1, 9, size=(4, 6)).astype("int32")
    mask = np.arange(6) < np.array([[6], [4], [2], [3]])
    teacher, student = Padded(7), Padded(5)
    for model in (teacher, student):
        model({"token_ids": ids})
    distiller = keras_kd.Distiller(teacher, student, losses.LogitsDistillation())
    distiller.compile("sgd")
    seen = []
    for other in (0, 5):
        x = {"token_ids": np.where(mask, ids, other)}
        x["padding_mask"] = np.expand_dims(mask, axes)
        logs = distiller.evaluate(x, verbose=0, return_dict=True)
        seen.append(logs["distillation_loss"])
    assert seen[0] == pytest.approx(seen[1], rel=1e-5)
