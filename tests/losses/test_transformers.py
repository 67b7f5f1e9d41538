"""Transformer methods on models, through `fit`."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd
from keras_kd.losses import (
    AttentionRelationDistillation,
    DistilBertDistillation,
    HiddenStateDistillation,
    MarginDistillation,
    TinyBertDistillation,
)
from tests.losses.calls import called

# A loss on an inner layer leaves what is above it without a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

TOKENS, VOCABULARY = 6, 20


def encoder(width, heads, depth, name):
    ids = keras.Input((TOKENS,), dtype="int32")
    x = layers.Embedding(VOCABULARY, width, mask_zero=True, name="embedding")(ids)
    for place in range(depth):
        attention = layers.MultiHeadAttention(
            heads, width // heads, name=f"attention_{place}"
        )(x, x)
        x = layers.LayerNormalization(name=f"layer_{place}")(x + attention)
    return keras.Model(ids, layers.Dense(VOCABULARY, name="head")(x), name=name)


def tokens(count=32):
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (count, TOKENS))
    ids[::2, -2:] = 0  # padding
    return ids.astype("int32")


@pytest.fixture
def pair():
    keras.utils.set_random_seed(1)
    return encoder(12, 3, 4, "teacher"), encoder(8, 2, 2, "student")


def check_falls_by_half(distiller, x, y=None, *, epochs=30, minimum=0.0):
    """Fit with a loss alone; its excess over the minimum must halve."""
    distiller.compile(keras.optimizers.Adam(0.01), loss=None)
    history = distiller.fit(x, y, batch_size=16, epochs=epochs, verbose=0).history
    assert history["loss"][-1] - minimum < 0.5 * (history["loss"][0] - minimum)


@pytest.mark.parametrize("layer", [None, "attention_1", "object"])
def test_minilm_trains_across_widths_and_heads(pair, layer):
    teacher, student = pair
    given = student.get_layer("attention_1") if layer == "object" else layer
    loss = AttentionRelationDistillation(None, given, relation_heads=4)
    distiller = keras_kd.Distiller(teacher, student, loss, student_loss_weight=0.0)
    check_falls_by_half(distiller, tokens())
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert again.student_layer == (layer and "attention_1")


def test_padding_leaves_no_trace_in_minilm():
    """Padded tokens would else teach the student about nothing."""
    rng = np.random.default_rng(0)
    t, s = (rng.normal(size=(2, 5, 6)).astype("float32") for _ in "ts")
    mask = np.arange(5) < 3
    loss = AttentionRelationDistillation(relation_heads=2, padding_mask="mask")
    loss.build([keras.KerasTensor(t.shape)], [keras.KerasTensor(s.shape)])

    def value(t, s, **context):
        step = keras_kd.StepContext(**context)
        tensors = [[keras.ops.convert_to_tensor(v)] for v in (t, s)]
        return keras.ops.convert_to_numpy(called(loss, *tensors, step))

    full = {"mask": keras.ops.ones((2, 3))}
    wanted = value(t[:, :3], s[:, :3], x=full)
    padded = {"mask": keras.ops.convert_to_tensor(np.stack([mask, mask]))}
    np.testing.assert_allclose(value(t, s, x=padded), wanted, rtol=1e-5)
    all_padding = value(t, s, x={"mask": keras.ops.zeros((2, 5))})
    np.testing.assert_array_equal(all_padding, [0.0, 0.0])
    with pytest.raises(ValueError, match="(?s)key of the batch's x.*'mask'"):
        value(t, s, x=None)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"relation_heads": 0}, "`relation_heads` must be None or a positive integer"),
        ({"relation_heads": 5}, "(?s)must divide the width.*=5 for widths \\(12, 8\\)"),
        ({"teacher_layer": "head"}, "'head' of type Dense, without query"),
        ({"student_layer": "layer_1"}, "query"),
    ],
)
def test_malformed_minilm_says_what_to_do(pair, arguments, match):
    def use():
        loss = AttentionRelationDistillation(**arguments)
        distiller = keras_kd.Distiller(*pair, loss)
        distiller.compile("sgd", None)
        distiller.fit(tokens(), verbose=0)

    with pytest.raises(ValueError, match=match):
        use()


def test_a_layer_object_without_queries_is_refused(pair):
    loss = AttentionRelationDistillation(pair[0].get_layer("layer_0"))
    with pytest.raises(ValueError, match="(?s)`teacher_layer`.*without query"):
        keras_kd.Distiller(*pair, loss)


def test_models_without_attention_are_refused():
    def plain(name):
        return keras.Sequential(
            [keras.Input((4,)), layers.Dense(3), layers.Dense(2)], name=name
        )

    with pytest.raises(ValueError, match="(?s)`teacher_layer` must name a layer"):
        keras_kd.Distiller(plain("t"), plain("s"), AttentionRelationDistillation())


LAYERS = [f"layer_{index}" for index in range(4)]


def test_tinybert_trains_across_widths_and_depths(pair):
    """Its projectors, in parts of a part, must train with the student and be saved."""
    loss = TinyBertDistillation(
        LAYERS, LAYERS[:2], embeddings=("embedding", "embedding")
    )
    distiller = keras_kd.Distiller(*pair, loss, student_loss_weight=0.0)
    check_falls_by_half(distiller, tokens())
    assert len(loss.layers) == 3  # two states and the embeddings, 8 to 12 wide
    kernels = {id(layer.kernel) for layer in loss.layers}
    assert kernels <= {id(v) for v in distiller.trainable_variables}


def test_distilbert_trains(pair):
    small = encoder(12, 3, 2, "small")
    loss = DistilBertDistillation("layer_3", "layer_1")
    distiller = keras_kd.Distiller(pair[0], small, loss, student_loss_weight=0.0)
    check_falls_by_half(distiller, tokens())


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: HiddenStateDistillation(["a"], ["x", "y"]), "2 of the student, 1 of"),
        (lambda: HiddenStateDistillation(["a"], []), "at least one layer"),
        (
            lambda: HiddenStateDistillation(["a"], ["x"], projector=layers.Dense(3)),
            "`projector` must be 'auto' or None",
        ),
        (
            lambda: TinyBertDistillation(["a"], ["x"], embeddings="e"),
            "`embeddings` must be None or a pair",
        ),
        (
            lambda: TinyBertDistillation(["a"], ["x"], attention=[["a"]]),
            "`attention` must be None or a pair",
        ),
        (
            lambda: DistilBertDistillation("a", "x", output=(0, 1, 2)),
            "`output` must be None, a name or index, or a pair",
        ),
    ],
)
def test_malformed_layers_of_transformers_say_what_to_do(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_distilbert_names_what_fits_another_width(pair):
    """The method has no projector; without a word, the first batch would crash."""
    loss = DistilBertDistillation("layer_3", "layer_1")
    distiller = keras_kd.Distiller(*pair, loss)
    distiller.compile("sgd", None)
    with pytest.raises(ValueError, match="(?s)one width.*12.*8.*TinyBertDistillation"):
        distiller.fit(tokens(), verbose=0)


def test_hidden_states_are_spread_over_the_teacher():
    loss = HiddenStateDistillation(list("abcdef"), ["x", "y"])
    assert [tap.layer for tap in loss.teacher_signals()] == ["c", "f"]


def test_margins_train_a_ranker():
    """Scores that differ by a constant rank the same."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8)).astype("float32")
    teacher = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    student = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    loss = MarginDistillation()
    distiller = keras_kd.Distiller(teacher, student, loss, student_loss_weight=0.0)
    check_falls_by_half(distiller, x)
    with pytest.raises(ValueError, match="(?s)at least 2 classes.*relevant document"):
        loss.build(keras.KerasTensor((None, 1)), keras.KerasTensor((None, 1)))
