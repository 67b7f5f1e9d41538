"""What must not count in a loss: other outputs' weights, padding, missing labels."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd import losses
from keras_kd.students import BranchedStudent
from keras_kd.teachers import Ensemble
from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.training.helpers import CLASSES, CROSSENTROPY, log_softmax, values_of

BATCH = 6
Y = np.array([0, 0, 1, 2, 1, 2])


def array(x):
    return ops.convert_to_numpy(x)


def tensor(x, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(x, dtype))


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def dense(units, seed, **kwargs):
    start = keras.initializers.RandomNormal(stddev=0.9, seed=seed)
    return layers.Dense(units, kernel_initializer=start, **kwargs)


# The weights of another output


def two_outputs(kind, seed):
    inputs = keras.Input((4,))
    hidden = dense(5, seed, activation="tanh", name="hidden")(inputs)
    outputs = {name: dense(CLASSES, seed + 1, name=name)(hidden) for name in "ab"}
    return keras.Model(inputs, outputs if kind == "dict" else list(outputs.values()))


RELATIONAL = {
    "same_class": lambda key: losses.SameClassDistillation(output=key),
    "views": lambda key: losses.ViewAgreementDistillation(output=key),
    "last_batch": lambda key: losses.LastBatchDistillation(BATCH, output=key),
    "exits": lambda key: losses.ExitDistillation(["hidden", "hidden"], output=key),
    "dist": lambda key: losses.CorrelationDistillation(output=key),
    "multi_level": lambda key: losses.MultiLevelLogitDistillation(output=key),
}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "dict") for name in RELATIONAL), ("dist", "list")]
)
def test_the_weights_of_another_output_silence_nothing(name, kind):
    """An example without a label for one task may well be one of the other."""

    def given(a, b):
        return {"a": a, "b": b} if kind == "dict" else [a, b]

    def trained(of_b):
        keras.utils.set_random_seed(1)
        loss = RELATIONAL[name]("a" if kind == "dict" else 0)
        teacher = two_outputs(kind, 7) if name in ("dist", "multi_level") else None
        distiller = keras_kd.Distiller(
            teacher,
            two_outputs(kind, 1),
            loss,
            student_loss_weight=1.0,
            distillation_weight=1.0,
            student_inputs=lambda x: x["x"],
            **({} if teacher is None else {"teacher_inputs": lambda x: x["x"]}),
        )
        distiller.compile(
            # Output b learns nothing, so that its weights move nothing either.
            keras.optimizers.SGD(0.1),
            given(CROSSENTROPY, CROSSENTROPY),
            loss_weights=given(1.0, 0.0),
        )
        x = {"x": drawn(0, BATCH, 4), "sample_id": np.array([1, 2, 3, 1, 2, 3])}
        of_a = np.array([1, 1, 1, 1, 2, 0], "float32")
        weights = given(of_a, np.array(of_b, "float32"))
        arguments = {"sample_weight": weights, "batch_size": BATCH, "verbose": 0}
        log = distiller.fit(x, given(Y, Y), epochs=2, shuffle=False, **arguments)
        return log.history[loss.name]

    plain = trained([1, 1, 1, 1, 1, 1])
    assert plain[1] > 0
    np.testing.assert_allclose(trained([1, 0, 0, 0, 1, 0]), plain, rtol=1e-5)


# Padding


def tagger(seed):
    """Return a classifier of sentences, whose stages know what is padding."""
    inputs = keras.Input((None,), dtype="int32")
    start = keras.initializers.RandomNormal(stddev=2.0, seed=seed)
    x = layers.Embedding(20, 6, mask_zero=True, embeddings_initializer=start)(inputs)
    x = dense(6, seed + 1, activation="relu", name="low")(x)
    x = dense(6, seed + 2, activation="relu", name="high")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, dense(CLASSES, seed + 3, name="logits")(x))


def branched(seed):
    inputs, features = keras.Input((None,), dtype="int32"), keras.Input((None, 6))
    start = keras.initializers.RandomNormal(stddev=2.0, seed=seed)
    x = layers.Embedding(20, 6, mask_zero=True, embeddings_initializer=start)(inputs)
    trunk = keras.Model(inputs, dense(6, seed, activation="relu")(x))
    pooled = layers.GlobalAveragePooling1D()(features)
    branches = [
        keras.Model(features, dense(CLASSES, seed + place)(pooled))
        for place in range(2)
    ]
    return BranchedStudent(trunk, branches)


PADDED = {
    "exits": lambda: (None, tagger(1), losses.ExitDistillation(["low", "high"])),
    "one_for_all": lambda: (
        tagger(5),
        tagger(1),
        losses.OneForAllDistillation(["low"]),
    ),
    "features": lambda: (
        Ensemble([tagger(5), tagger(9)]),
        tagger(1),
        losses.ConfidenceWeightedFeatures(2, "high", "low", "logits"),
    ),
    "gated": lambda: (
        None,
        branched(1),
        losses.GatedEnsembleDistillation(),
    ),
}


# Keras says so of each nested model, whose layers do see the mask.
@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
@pytest.mark.parametrize("name", PADDED)
def test_padding_changes_nothing(name):
    """A sentence is the same whatever the longest of its batch is."""
    tokens = np.random.default_rng(0).integers(1, 20, (BATCH, 5))
    padded = np.concatenate([tokens, np.zeros((BATCH, 9), int)], axis=1)
    results = []
    for x in (tokens, padded):
        keras.utils.set_random_seed(0)
        teacher, student, loss = PADDED[name]()
        distiller = keras_kd.Distiller(
            teacher, student, loss, student_loss_weight=1.0, distillation_weight=1.0
        )
        distiller.compile(keras.optimizers.SGD(0.01), CROSSENTROPY)
        log = distiller.fit(x, Y, batch_size=BATCH, epochs=2, verbose=0).history
        results.append((log[loss.name], values_of(student.trainable_weights)))
    (short, before), (long, after) = results
    np.testing.assert_allclose(long, short, rtol=1e-5)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# Labels that name no class, and classes that are left out


def three():
    return [drawn(place, BATCH, CLASSES) * 2 for place in range(3)]


def gated():
    keras.utils.set_random_seed(3)
    loss = losses.GatedEnsembleDistillation()
    spec = keras.KerasTensor((None, CLASSES))
    features = keras.KerasTensor((None, 4))
    loss.build(None, {"outputs": [spec] * 3, "features": features})
    return loss


def gated_signals(parts, features=None):
    features = drawn(9, BATCH, 4) if features is None else features
    return {"outputs": parts, "features": features}


LABELLED = {
    "best": lambda z, step: called(losses.CollaborativeDistillation(), None, z, step),
    "lowest_margin": lambda z, step: called(
        losses.CollaborativeDistillation("lowest_margin"), None, z, step
    ),
    "confidence": lambda z, step: called(
        losses.ConfidenceWeightedDistillation(2), z[:2], z[2], step
    ),
    "gated": lambda z, step: called(gated(), None, gated_signals(z), step),
}


@pytest.mark.parametrize("label", [-1, -100, 255])
@pytest.mark.parametrize("name", LABELLED)
def test_a_label_that_names_no_class_gives_nothing(name, label):
    """`class_labels` promises a value of 0, and the others must stay what they are."""
    y = Y.copy()
    y[::2] = label
    z = [tensor(one) for one in three()]
    values, plain = (
        array(
            LABELLED[name](
                z, keras_kd.StepContext(y=tensor(of, "int32"), training=False)
            )
        )
        for of in (y, Y)
    )
    assert (values[::2] == 0.0).all()
    np.testing.assert_array_equal(values[1::2], plain[1::2])
    assert (plain > 0.0).all()


def test_the_gate_of_branches_that_leave_a_class_out():
    """0 · inf in the gradient of the gate would end the training in its first step."""
    loss, y, z = gated(), Y % 2, three()
    (gate,) = loss.layers
    step = keras_kd.StepContext(y=tensor(y, "int32"), training=False)
    for one in z:
        one[:, 2] = -np.inf

    def total(parts):
        return lambda x: ops.sum(called(loss, None, gated_signals(parts, x), step))

    features = drawn(9, BATCH, 4)
    value, slope = value_and_gradient(total([tensor(one) for one in z]), features)
    kept = [tensor(one[:, :2]) for one in z]
    wanted, slope_of_kept = value_and_gradient(total(kept), features)
    assert value == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(slope, slope_of_kept, rtol=1e-4, atol=1e-6)
    # By hand, too: what both share may be wrong in both.
    shares = array(gate(tensor(features))).astype("float64")
    two = np.stack([one[:, :2] for one in z]).astype("float64")
    log_q = log_softmax((shares.T[..., None] * two).sum(0) / 3.0)
    by_hand = -log_softmax(3.0 * log_q)[np.arange(BATCH), y].sum()
    for one in two:
        gap = log_q - log_softmax(one / 3.0)
        by_hand += 9.0 * (np.exp(log_q) * gap).sum()
    assert value == pytest.approx(by_hand, rel=1e-4)

    def of_logits(x):
        return total([x, *(tensor(one) for one in z[1:])])(tensor(features))

    _, slope = value_and_gradient(of_logits, z[0])
    assert np.isfinite(slope).all()
    assert (slope[:, 2] == 0.0).all()
