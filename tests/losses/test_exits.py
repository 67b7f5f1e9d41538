"""Shallow stages that learn from the deepest: right, trained, and gone afterwards."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd import losses
from keras_kd.engine.reduction import reduce_loss
from keras_kd.layers import ClassifierExit
from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.training.helpers import CLASSES, crossentropy, soft_targets

BATCH, SHALLOW, DEEP = 6, 5, 4
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
LABELS = np.array([0, 1, 2, 2, 1, 0])


def array(x):
    return ops.convert_to_numpy(x)


def tensor(x, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(x, dtype))


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def spec(*shape):
    return keras.KerasTensor((None, *shape))


def step_of(y=LABELS, **context):
    y = None if y is None else ops.convert_to_tensor(y)
    return keras_kd.StepContext(y=y, **context)


def made(**arguments):
    """Return a loss on two exits and the deepest stage, built for vectors."""
    keras.utils.set_random_seed(1)
    loss = losses.ExitDistillation(["a", "b", "c"], temperature=2.0, **arguments)
    stages = [spec(SHALLOW), spec(SHALLOW), spec(DEEP)]
    loss.build(None, {"output": spec(CLASSES), "stages": stages})
    return loss


SIGNALS = {
    "output": 2 * drawn(0, BATCH, CLASSES),
    "stages": [
        drawn(1, BATCH, SHALLOW),
        drawn(2, BATCH, SHALLOW),
        drawn(3, BATCH, DEEP),
    ],
}


def given(rows=slice(None), dtype="float32", scale=1.0):
    return keras.tree.map_structure(lambda x: tensor(scale * x[rows], dtype), SIGNALS)


def by_hand(loss, signals, alpha=0.3, weight=0.03, rows=slice(None)):
    total, (*shallow, deepest) = 0.0, signals["stages"]
    for layer, stage in zip(loss.layers, shallow, strict=True):
        kernel, bias, out, constant = (w.astype("float64") for w in layer.get_weights())
        feature = np.asarray(stage, "float64") @ kernel + bias
        logits = feature @ out + constant
        total = total + (1 - alpha) * crossentropy(LABELS[rows], logits)
        # The helper has a factor T², which the method does not.
        total += alpha * soft_targets(signals["output"], logits, 2.0) / 4.0
        total += weight * ((feature - deepest) ** 2).sum(-1)
    return total


def test_value_equals_the_formula():
    """A factor T² or a mean over the channels would be another balance."""
    for arguments in ({}, {"alpha": 0.8, "feature_weight": 0.5}):
        loss = made(**arguments)
        numbers = arguments.get("alpha", 0.3), arguments.get("feature_weight", 0.03)
        np.testing.assert_allclose(
            array(called(loss, None, given(), step_of())),
            by_hand(loss, SIGNALS, *numbers),
            rtol=2e-5,
        )


@pytest.mark.parametrize("place", [0, 1])
def test_gradient_of_a_stage_equals_finite_differences(place):
    """This is what makes the stages better."""
    loss, scale = made(), drawn(5, BATCH)

    def scalar(x):
        signals = given()
        signals["stages"][place] = x
        return ops.sum(called(loss, None, signals, step_of()) * tensor(scale))

    stage = SIGNALS["stages"][place]
    _, gradient = value_and_gradient(scalar, stage.astype("float32"))
    wanted = np.zeros_like(stage)
    for index in np.ndindex(*stage.shape):
        sides = []
        for sign in (1, -1):
            moved = stage.copy()
            moved[index] += sign * 1e-5
            stages = list(SIGNALS["stages"])
            stages[place] = moved
            value = by_hand(loss, {"output": SIGNALS["output"], "stages": stages})
            sides.append((value * scale).sum())
        wanted[index] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("part", ["output", "deepest"])
def test_the_deepest_is_not_pulled_to_the_shallow(part):
    """The teacher within must not learn from its pupils."""
    loss, signals = made(), given()

    def scalar(x):
        # A term of its own, because no gradient at all is an error in TensorFlow.
        if part == "output":
            moved = {**signals, "output": x}
        else:
            moved = {**signals, "stages": [*signals["stages"][:-1], x]}
        return ops.sum(called(loss, None, moved, step_of())) + 2.0 * ops.sum(x)

    start = SIGNALS["output"] if part == "output" else SIGNALS["stages"][-1]
    _, gradient = value_and_gradient(scalar, start.astype("float32"))
    np.testing.assert_array_equal(gradient, 2.0)


@pytest.mark.parametrize("how", ["sample_weight", "mask"])
def test_left_out_equals_not_in_the_batch(how):
    """Padding rows must not count."""
    loss, keep = made(), np.array([1, 0, 1, 1, 0, 1])
    if how == "sample_weight":
        step = step_of(sample_weight=tensor(keep))
    else:
        step = step_of(student_mask={"output": tensor(keep, "bool"), "stages": None})
    whole = reduce_loss(loss, loss.call(None, given(), step), step)
    rows = keep > 0
    rest = step_of(LABELS[rows])
    part = reduce_loss(loss, loss.call(None, given(rows), rest), rest)
    assert float(array(whole)) == pytest.approx(float(array(part)), rel=1e-6)


def test_survives_large_float16_and_a_batch_of_one():
    """One large value in half precision must not end a training run with NaN."""
    loss = made()
    big = keras.tree.map_structure(
        lambda x: tensor(1e4 * np.sign(x[:1]), "float16"), SIGNALS
    )

    def scalar(x):
        signals = {**big, "stages": [x, *big["stages"][1:]]}
        return ops.sum(called(loss, None, signals, step_of(LABELS[:1])))

    start = (1e4 * np.sign(SIGNALS["stages"][0][:1])).astype("float16")
    value, gradient = value_and_gradient(scalar, start)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("label", [-1, -100, 255])
def test_an_example_without_a_class_is_ignored(label):
    """Half-labelled data must not send a wrong label, or count by a part of the sum."""
    loss, y = made(), LABELS.copy()
    y[1::2] = label
    values = array(called(loss, None, given(), step_of(y)))
    np.testing.assert_allclose(values[::2], by_hand(loss, SIGNALS)[::2], rtol=1e-4)
    assert (values[1::2] == 0.0).all()


def network(dtype=None):
    """Return a convnet with three stages of different size and width."""
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((8, 8, 1))
    for place, width in enumerate((6, 8, 12)):
        x = layers.Conv2D(
            width, 3, strides=min(2, 1 + place), padding="same", dtype=dtype
        )(x)
        x = layers.BatchNormalization(dtype=dtype)(x)
        x = layers.ReLU(name=f"stage_{place}", dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits", dtype=dtype)(x))


STAGES = ["stage_0", "stage_1", "stage_2"]


def images(count=24):
    y = np.arange(count) % CLASSES
    x = np.random.default_rng(0).normal(size=(count, 8, 8, 1)) + y[:, None, None, None]
    return x.astype("float32"), y


def distiller_of(student, **arguments):
    loss = losses.ExitDistillation(STAGES, **arguments)
    distiller = keras_kd.Distiller(
        None, student, loss, student_loss_weight=1.0, distillation_weight=1.0
    )
    distiller.compile(keras.optimizers.Adam(0.01), CROSSENTROPY)
    return distiller


@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
def test_trains_through_fit_and_leaves_a_plain_student(dtype):
    """The exits must learn in the compiled step, and be no part of the student."""
    student, (x, y) = network(dtype), images()
    weights = len(student.weights)
    # The distance to features that grow while the student learns may grow with them.
    distiller = distiller_of(student, feature_weight=0.0)
    log = distiller.fit(x, y, epochs=60, batch_size=8, verbose=0).history
    values = log["exit_distillation"]
    assert np.isfinite(values).all()
    assert values[-1] < 0.6 * values[0]
    assert len(student.weights) == weights
    assert [layer.reductions for layer in distiller.distillation_losses[0].layers] == [
        2,
        1,
    ]
    result = distiller.evaluate(x, y, verbose=0, return_dict=True)
    assert np.isfinite(result["exit_distillation"])


def test_goes_on_after_loading(tmp_path):
    """A file without the exits would begin them anew."""
    x, y = images()
    settings = {"batch_size": 8, "verbose": 0, "shuffle": False}
    one = distiller_of(network())
    one.fit(x, y, epochs=2, **settings)
    one.save(tmp_path / "distiller.keras")
    other = keras.saving.load_model(tmp_path / "distiller.keras")
    for distiller in (one, other):
        distiller.fit(x, y, initial_epoch=2, epochs=4, **settings)
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("width", [None, 7])
def test_an_exit_gives_its_feature(width):
    """The logits must be made of the feature that is compared."""
    layer = ClassifierExit(CLASSES, reductions=1, width=width)
    x = tensor(drawn(0, 2, 8, 8, 3))
    feature, logits = layer(x, return_feature=True)
    assert tuple(feature.shape) == (2, width or 3)
    np.testing.assert_allclose(
        array(layer.classifier(feature)), array(logits), rtol=1e-6
    )
    np.testing.assert_array_equal(array(layer(x)), array(logits))
    again = ClassifierExit.from_config(layer.get_config())
    assert (again.classes, again.reductions, again.width) == (CLASSES, 1, width)


WRONG = {
    "`student_layer_names` must be a list of at least two": lambda: (
        losses.ExitDistillation(["a"])
    ),
    "`alpha` must be a number": lambda: losses.ExitDistillation(["a", "b"], alpha=2.0),
    "`feature_weight` must be a number": lambda: losses.ExitDistillation(
        ["a", "b"], feature_weight=-1.0
    ),
    "`temperature` must be a number": lambda: losses.ExitDistillation(
        ["a", "b"], temperature=0.0
    ),
    "output of shape `.batch, classes.`": lambda: losses.ExitDistillation(
        ["a", "b"]
    ).build(None, {"output": spec(7, 3), "stages": [spec(4), spec(4)]}),
    "at least 2 classes": lambda: losses.ExitDistillation(["a", "b"]).build(
        None, {"output": spec(1), "stages": [spec(4), spec(4)]}
    ),
    "known number of channels.*Tap.'b'": lambda: losses.ExitDistillation(
        ["a", "b"]
    ).build(None, {"output": spec(3), "stages": [spec(4), spec(None)]}),
    "ExitDistillation needs labels": lambda: called(
        made(), None, given(), step_of(None)
    ),
    "No layer 'nowhere' in the student": lambda: keras_kd.Distiller(
        None, network(), losses.ExitDistillation(["stage_0", "nowhere"])
    ),
}


@pytest.mark.parametrize(("message", "make"), WRONG.items())
def test_wrong_arguments_are_named(message, make):
    """Before any training, and by the name of the argument."""
    with pytest.raises(ValueError, match=message):
        make()


def test_labels_are_asked_for_before_training():
    """An error in the compiled step would come late and in other words."""
    distiller = distiller_of(network())
    distiller.compile("adam", None)
    with pytest.raises(ValueError, match="ExitDistillation needs labels"):
        distiller.fit(images()[0], verbose=0)
