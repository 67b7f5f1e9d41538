"""Every kind of model, eager and compiled: the right value, in one forward pass."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.signals.recording import recording
from tests.signals.models import CASES, Counted, X

# With features alone, nothing trains the layers above the tap, and Keras says so.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

MODELS = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def counted_layers(model):
    return [part for part in model._flatten_layers() if isinstance(part, Counted)]


@MODELS
def test_records_what_the_layer_gave(make):
    """A tap that gives something else would compare the wrong features, silently."""
    case = make()
    tap = case.tap if isinstance(case.tap, keras_kd.Tap) else keras_kd.Tap(case.tap)
    x = getattr(case, "x", X)
    with recording(case.model, [tap], side="student", check_calls=True) as record:
        record.output = case.model(x)
    np.testing.assert_allclose(array(tap.value(record)), case.value, atol=1e-5)


@MODELS
def test_leaves_no_trace_on_the_model(make):
    """A changed class would break saving, and a kept tensor would leak memory."""
    case = make()
    parts = [case.model, *case.model._flatten_layers(include_self=False)]
    before = [type(part) for part in parts]
    tap = case.tap if isinstance(case.tap, keras_kd.Tap) else keras_kd.Tap(case.tap)
    with (
        pytest.raises(KeyError, match="from inside"),
        recording(case.model, [tap], side="student"),
    ):
        raise KeyError("from inside")
    assert [type(part) for part in parts] == before


@MODELS
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "compiled"])
def test_feeds_the_loss_in_one_forward_pass(make, eager):
    """The whole way: the loss sees the value, and no layer runs twice for it."""
    teacher, student = make(), make()
    loss = keras_kd.FeatureDistillation("mse", teacher.tap, student.tap)
    distiller = keras_kd.Distiller(teacher.model, student.model, loss)
    # A rate of 0 keeps the weights, and so the value, as they are.
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=eager)
    wanted = np.mean((teacher.value - student.value) ** 2)
    x = getattr(teacher, "x", X)
    trained = distiller.fit(x, batch_size=6, verbose=0).history
    assert trained["feature_distillation"][0] == pytest.approx(wanted, rel=1e-4)
    told = distiller.evaluate(x, verbose=0, return_dict=True)
    assert told["feature_distillation"] == pytest.approx(wanted, rel=1e-4)


@MODELS
def test_calls_each_layer_once_a_step(make):
    """A second forward doubles the cost and updates BatchNorm twice."""
    teacher, student = make(), make()
    losses = [
        keras_kd.FeatureDistillation("mse", teacher.tap, student.tap),
        keras_kd.LogitsDistillation(2.0),
    ]
    distiller = keras_kd.Distiller(teacher.model, student.model, losses)
    distiller.compile("sgd", run_eagerly=True)
    x = getattr(teacher, "x", X)
    distiller.fit(x, batch_size=6, verbose=0)
    for side in (teacher.model, student.model):
        for layer in counted_layers(side):
            layer.calls = 0
    distiller.fit(x, batch_size=6, verbose=0)
    calls = 2 if make is CASES["shared"] else 1
    for side in (teacher.model, student.model):
        assert [layer.calls for layer in counted_layers(side)] == [
            calls for _ in counted_layers(side)
        ]


def test_input_and_each_call_of_a_shared_layer():
    """The peer gives the first call only, whatever one wants."""
    case = CASES["shared"]()
    taps = [
        keras_kd.Tap("tapped", call=0),
        keras_kd.Tap("tapped", call=-1),
        keras_kd.Tap("tapped", call=1, of="input"),
    ]
    with recording(case.model, taps, side="student") as record:
        case.model(case.x)
    first, last, taken = (array(tap.value(record)) for tap in taps)
    np.testing.assert_allclose(first, case.first, atol=1e-5)
    np.testing.assert_allclose(last, case.value, atol=1e-5)
    np.testing.assert_allclose(taken, np.maximum(case.first, 0), atol=1e-5)


def test_a_shared_layer_without_an_index_gives_its_first_call_and_says_so():
    """Which call it is must not be a guess."""
    case = CASES["shared"]()
    tap = keras_kd.Tap("tapped")
    with recording(case.model, [tap], side="student", check_calls=True) as record:
        case.model(case.x)
    with pytest.warns(UserWarning, match="called 2 times.*call="):
        value = tap.value(record)
    np.testing.assert_allclose(array(value), case.first, atol=1e-5)


def test_attention_probabilities_are_those_that_the_layer_uses():
    """Probabilities that the forward pass did not use would teach another attention."""
    attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, attention(inputs, inputs))
    x = np.random.default_rng(1).normal(size=(2, 5, 8)).astype("float32")
    tap = keras_kd.Tap("attention", of="attention")
    with recording(model, [tap], side="student") as record:
        output = model(x)
    plain, wanted = attention(x, x, return_attention_scores=True)
    np.testing.assert_allclose(array(output), array(plain), atol=1e-5)
    np.testing.assert_allclose(array(tap.value(record)), array(wanted), atol=1e-6)
