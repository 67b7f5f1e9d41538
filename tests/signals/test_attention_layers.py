"""Attention of layers that are not Keras's own, as language models have them."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.losses import AttentionDistillation, AttentionRelationDistillation
from keras_kd.signals.recording import recording
from tests.signals.language_models import (
    TOKENS,
    VOCABULARY,
    FusedAttention,
    OwnCallAttention,
    ProjectingAttention,
    task,
)

# A loss on an inner layer leaves what is above it without a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

IDS = np.random.default_rng(0).integers(0, VOCABULARY, (8, TOKENS)).astype("int32")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def trained(teacher, student, loss, epochs=2):
    distiller = keras_kd.Distiller(teacher, student, loss, student_loss_weight=0.0)
    distiller.compile(keras.optimizers.Adam(0.02))
    return distiller.fit(IDS, batch_size=8, epochs=epochs, verbose=0).history["loss"]


def probabilities_by_hand(layer, x):
    query, key = (
        np.einsum("btm,mnh->btnh", x, array(part.kernel)) + array(part.bias)
        for part in (layer.query_dense, layer.key_dense)
    )
    scores = np.einsum("bqnh,bknh->bnqk", query, key) / np.sqrt(layer.key_dim)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_probabilities_of_a_subclass_with_a_call_of_its_own():
    """KerasHub's subclasses raised a TypeError: they take no argument to ask by."""
    model = task(OwnCallAttention(2, 4), OwnCallAttention(2, 4))
    layer = model.backbone.transformer_layers[0].attention
    taps = [keras_kd.Tap(layer, of="attention"), keras_kd.Tap(layer, of="input")]
    plain = array(model(IDS))
    with recording(model, taps, side="student", check_calls=True) as record:
        output = model(IDS)
    attention, x = (array(tap.value(record)) for tap in taps)
    np.testing.assert_allclose(attention, probabilities_by_hand(layer, x), atol=1e-5)
    np.testing.assert_allclose(array(output), plain, atol=1e-5)
    assert type(layer) is OwnCallAttention
    assert record.attention == {}


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "compiled"])
def test_a_subclass_with_a_call_of_its_own_distils(eager):
    """All the way, beside Keras's own layer, and found without being named."""
    teacher = task(keras.layers.MultiHeadAttention(2, 4))
    student = task(OwnCallAttention(2, 4))
    distiller = keras_kd.Distiller(
        teacher, student, AttentionDistillation(loss="mse", name="a")
    )
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=eager)
    taps = [
        keras_kd.Tap(m.backbone.transformer_layers[0].attention, of="input")
        for m in (teacher, student)
    ]
    values = []
    for model, tap in zip((teacher, student), taps, strict=True):
        with recording(model, [tap], side="student") as record:
            model(IDS)
        x = array(tap.value(record))
        values.append(probabilities_by_hand(tap.layer, x))
    told = distiller.fit(IDS, batch_size=8, verbose=0).history["a"][0]
    wanted = np.mean((values[0] - values[1]) ** 2)
    assert told == pytest.approx(wanted, rel=1e-3)


def test_an_output_tap_leaves_the_computation_as_it_is():
    """Asking for probabilities nobody wants would cost memory, and refuse flash."""
    asked = []

    class Asked(OwnCallAttention):
        def _compute_attention(self, *args, return_attention_scores=False, **kwargs):
            asked.append(return_attention_scores)
            return super()._compute_attention(*args, **kwargs)

    model = task(Asked(2, 4))
    asked.clear()
    tap = keras_kd.Tap(model.backbone.transformer_layers[0].attention)
    with recording(model, [tap], side="student"):
        model(IDS)
    assert asked == [False]


def fused(heads=4, key_value_heads=2, size=4):
    return FusedAttention(heads, key_value_heads, size)


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_fused_attention_proposes_relations(side):
    """Llama's layers were not found; their probabilities do not exist."""
    models = {s: task(keras.layers.MultiHeadAttention(2, 4)) for s in "ts"}
    models[side[0]] = task(fused())
    with pytest.raises(
        ValueError,
        match=f"the {side}'s layer 'backbone/transformer_layers.0./attention' cannot "
        "be had.*one fused.*AttentionRelationDistillation",
    ):
        trained(models["t"], models["s"], AttentionDistillation())


def test_flash_attention_proposes_relations():
    """Keras's own message does not say what else there is."""
    model = task(keras.layers.MultiHeadAttention(2, 4))
    layer = model.backbone.transformer_layers[0].attention
    layer._flash_attention = True
    tap = keras_kd.Tap(layer, of="attention")
    with (
        pytest.raises(ValueError, match="flash_attention=False.*AttentionRelation"),
        recording(model, [tap], side="student"),
    ):
        model(IDS)


def test_attention_without_any_way_to_probabilities():
    """T5's layers: the message must say what can be done with them."""
    models = [task(ProjectingAttention(8)) for _ in range(2)]
    with pytest.raises(
        ValueError, match="of type ProjectingAttention.*AttentionRelationDistillation"
    ):
        trained(*models, AttentionDistillation())


MODELS = {
    "keras": lambda: task(keras.layers.MultiHeadAttention(2, 4)),
    "own_call": lambda: task(OwnCallAttention(2, 4)),
    "fused": lambda: task(fused()),
    "projecting": lambda: task(ProjectingAttention(8)),
}


@pytest.mark.parametrize("student", MODELS)
def test_relations_find_their_layers(student):
    """A language model had to name its layers, by names that change."""
    heads = 2 if student == "projecting" else None
    loss = AttentionRelationDistillation(relation_heads=heads)
    losses = trained(task(fused(8, 2)), MODELS[student](), loss, epochs=12)
    assert losses[-1] < 0.8 * losses[0]


def test_relations_split_by_all_head_counts():
    """By the queries' alone, grouped keys and values could not be split."""
    loss = AttentionRelationDistillation()
    trained(task(fused(6, 2, 3)), task(fused(6, 3, 5)), loss)
    assert loss._heads == 1
    loss = AttentionRelationDistillation()
    trained(task(fused(6, 2, 3)), task(fused(4, 4, 5)), loss)
    assert loss._heads == 2


def test_relations_of_plain_vectors_need_a_number_of_heads():
    """Heads of one number each, as before, would relate nothing."""
    models = [task(ProjectingAttention(8)) for _ in range(2)]
    with pytest.raises(ValueError, match="`relation_heads` must be given for vectors"):
        trained(*models, AttentionRelationDistillation())


def hub_backbone(name, **arguments):
    hub = pytest.importorskip("keras_hub")
    return getattr(hub.models, name)(
        vocabulary_size=VOCABULARY,
        num_layers=2,
        hidden_dim=8,
        intermediate_dim=16,
        **arguments,
    )


HUB = {
    "bert": lambda: hub_backbone("BertBackbone", num_heads=2),
    "gpt2": lambda: hub_backbone("GPT2Backbone", num_heads=2),
    "llama": lambda: hub_backbone(
        "LlamaBackbone", num_query_heads=4, num_key_value_heads=2
    ),
    "qwen": lambda: hub_backbone(
        "QwenBackbone", num_query_heads=4, num_key_value_heads=2
    ),
    "gemma": lambda: hub_backbone(
        "GemmaBackbone", num_query_heads=4, num_key_value_heads=1, head_dim=4
    ),
}


@pytest.mark.parametrize("name", HUB)
@pytest.mark.parametrize("loss", [AttentionDistillation, AttentionRelationDistillation])
def test_models_of_keras_hub(name, loss):
    """The models that people distil, as they are."""
    teacher, student = HUB[name](), HUB[name]()
    x = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}
    x |= {"segment_ids": np.zeros_like(IDS)} if name == "bert" else {}
    distiller = keras_kd.Distiller(teacher, student, loss(name="term"))
    distiller.compile("adam")
    if loss is AttentionDistillation and name in ("llama", "qwen", "gemma"):
        with pytest.raises(ValueError, match="AttentionRelationDistillation"):
            distiller.fit(x, batch_size=8, verbose=0)
    else:
        logs = distiller.fit(x, batch_size=8, epochs=3, verbose=0).history["term"]
        assert 0.0 < logs[-1] < logs[0]
