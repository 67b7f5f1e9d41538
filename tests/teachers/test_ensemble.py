"""Several teachers that answer as one: right, each run once, none changed."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from tests.losses.references import log_softmax, softmax

CLASSES, FEATURES = 4, 3


class Counted(layers.Layer):
    """Counts how often it is traced or run."""

    calls = 0

    def call(self, x):
        Counted.calls += 1
        return 3.0 * x


def classifier(name=None, width=5):
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(width, activation="tanh", name="hidden")(inputs)
    return keras.Model(inputs, Counted()(layers.Dense(CLASSES)(x)), name=name)


@pytest.fixture
def teachers():
    return [classifier(f"teacher_{place}", 5 + place) for place in range(3)]


def data(count=12):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, FEATURES)).astype("float32")
    return x, rng.integers(0, CLASSES, count)


def answers(teachers, x):
    return np.stack([ops.convert_to_numpy(t(x)) for t in teachers]).astype("float64")


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets_are_the_mean_of_the_teachers(teachers, temperature):
    """Averaged at another temperature, the targets would be nobody's."""
    x, _ = data()
    ensemble = keras_kd.teachers.Ensemble(teachers, temperature=temperature)
    logits = ops.convert_to_numpy(ensemble(x))
    wanted = softmax(answers(teachers, x) / temperature).mean(0)
    np.testing.assert_allclose(softmax(logits / temperature), wanted, atol=1e-6)


def test_logits_are_averaged_with_weights(teachers):
    """A weight that got lost would give the worst teacher the same say."""
    x, _ = data()
    ensemble = keras_kd.teachers.Ensemble(
        teachers, combine="logits", weights=[1, 0, 3.0]
    )
    wanted = np.einsum("k,kbc->bc", [0.25, 0.0, 0.75], answers(teachers, x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(ensemble(x)), wanted, rtol=1e-5, atol=1e-6
    )


def test_entropy_weights_are_those_of_the_paper(teachers):
    """The unsure teacher must count for less, example by example."""
    x, _ = data()
    z = answers(teachers, x)
    entropy = -(softmax(z) * log_softmax(z)).sum(-1)
    weights = (1 - entropy / entropy.sum(0)) / 2
    np.testing.assert_allclose(weights.sum(0), 1.0)
    ensemble = keras_kd.teachers.Ensemble(teachers, weights="entropy")
    wanted = np.einsum("kb,kbc->bc", weights, softmax(z))
    got = softmax(ops.convert_to_numpy(ensemble(x)))
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_confidence_weights_are_those_of_the_paper(teachers):
    """A teacher that is wrong about an example must not teach that example."""
    x, y = data()
    z = answers(teachers, x)
    loss = -log_softmax(z)[:, np.arange(len(y)), y]
    odds = np.exp(loss - loss.max(0))
    wanted = (1 - odds / odds.sum(0)) / 2
    got = keras_kd.ops.confidence_weights(
        ops.convert_to_tensor(z, "float32"), ops.convert_to_tensor(y)
    )
    np.testing.assert_allclose(ops.convert_to_numpy(got), wanted, atol=1e-5)


def test_extreme_logits_stay_finite():
    """A class that a teacher rules out altogether must not end in NaN."""
    z = np.array([[[1e4, -1e4, 0.0]], [[-np.inf, 0.0, 0.0]]], "float32")
    z = ops.convert_to_tensor(z)
    for weights in (np.array([[0.5], [0.5]]), keras_kd.ops.entropy_weights(z)):
        together = keras_kd.ops.mean_of_probabilities(z, weights, temperature=2.0)
        p = ops.convert_to_numpy(ops.softmax(together / 2.0))
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, "entropy"])
def test_an_ensemble_teaches_and_stays_as_it_is(teachers, weights):
    """A teacher that moved would teach something else in each epoch."""
    x, y = data()
    before = [w for teacher in teachers for w in teacher.get_weights()]
    ensemble = keras_kd.teachers.Ensemble(teachers, weights=weights, temperature=2.0)
    student = classifier("student", 2)
    distiller = keras_kd.Distiller(
        ensemble,
        student,
        [
            keras_kd.LogitsDistillation(2.0),
            keras_kd.FeatureDistillation("mse", "teachers[1]/hidden", "hidden"),
        ],
    )
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    history = distiller.fit(x, y, epochs=30, batch_size=4, verbose=0).history
    log = history["logits_distillation"]
    assert log[-1] < log[0]
    after = [w for teacher in teachers for w in teacher.get_weights()]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)
    p = softmax(answers(teachers, x) / 2.0)
    if weights is None:
        s = ops.convert_to_numpy(student(x)).astype("float64") / 2.0
        mean = p.mean(0)
        kd = 4.0 * (mean * (np.log(mean) - log_softmax(s))).sum(-1).mean()
        found = distiller.evaluate(x, y, verbose=0, return_dict=True)
        assert found["logits_distillation"] == pytest.approx(kd, rel=1e-4)


def test_each_model_runs_once_a_step(teachers):
    """N teachers cost N forwards and one of the student, whatever is compared."""
    x, y = data()
    distiller = keras_kd.Distiller(
        keras_kd.teachers.Ensemble(teachers),
        classifier("student", 2),
        [
            keras_kd.LogitsDistillation(2.0),
            keras_kd.FeatureDistillation("mse", "teachers[1]/hidden", "hidden"),
        ],
    )
    distiller.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(True), run_eagerly=True
    )
    distiller.train_on_batch(x, y)  # the checks of the first batch
    Counted.calls = 0
    distiller.train_on_batch(x, y)
    assert Counted.calls == len(teachers) + 1


def test_a_reloaded_ensemble_gives_the_same_answers(tmp_path):
    """A file that lost a member would go on with a random teacher."""
    x, y = data()

    def plain():
        return keras.Sequential([keras.Input((FEATURES,)), layers.Dense(CLASSES)])

    ensemble = keras_kd.teachers.Ensemble(
        [plain(), plain()], weights=[1.0, 3.0], temperature=3.0
    )
    distiller = keras_kd.Distiller(ensemble, plain(), keras_kd.LogitsDistillation(3.0))
    distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    distiller.fit(x, y, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again.teacher(x)), ops.convert_to_numpy(ensemble(x))
    )


def test_outputs_of_several_heads_are_averaged_head_by_head():
    """A multi-task ensemble must not mix its tasks."""

    def model():
        inputs = keras.Input((FEATURES,))
        return keras.Model(
            inputs, {"a": layers.Dense(2)(inputs), "b": layers.Dense(3)(inputs)}
        )

    members, (x, _) = [model(), model()], data()
    ensemble = keras_kd.teachers.Ensemble(members, combine="logits")
    got = ensemble(x)
    for head in ("a", "b"):
        wanted = sum(ops.convert_to_numpy(m(x)[head]) for m in members) / 2
        np.testing.assert_allclose(ops.convert_to_numpy(got[head]), wanted, rtol=1e-5)


WRONG = {
    "`teachers` must be a list of at least two": lambda t: {"teachers": t[:1]},
    "`teachers` must all be Keras models": lambda t: {"teachers": [t[0], len]},
    "`combine` must be one of": lambda t: {"teachers": t, "combine": "vote"},
    "`temperature` must be a positive": lambda t: {"teachers": t, "temperature": 0},
    "`weights` must be None, 'entropy'": lambda t: {"teachers": t, "weights": [1, 2]},
    "not all 0": lambda t: {"teachers": t, "weights": [0, 0, 0]},
}


@pytest.mark.parametrize(("message", "make"), WRONG.items())
def test_wrong_arguments_are_named(teachers, message, make):
    """Before any training, and by the name of the argument."""
    with pytest.raises(ValueError, match=message):
        keras_kd.teachers.Ensemble(**make(teachers))


def test_teachers_of_other_classes_are_refused():
    """Broadcast, the logits of two tasks would be averaged without a word."""
    members = [
        keras.Sequential([keras.Input((FEATURES,)), layers.Dense(width)])
        for width in (3, 4)
    ]
    with pytest.raises(ValueError, match="logits of the same shape"):
        keras_kd.teachers.Ensemble(members)(data()[0])


def test_confidence_weights_train_through_fit(teachers):
    """The labels must reach the weights in the compiled step."""
    x, y = data()
    loss = keras_kd.losses.ConfidenceWeightedDistillation(3, 2.0)
    student = classifier("student", 4)
    distiller = keras_kd.Distiller(
        keras_kd.teachers.Ensemble(teachers), student, loss, student_loss_weight=0.0
    )
    distiller.compile(keras.optimizers.Adam(0.05), None)
    log = distiller.fit(x, y, epochs=60, batch_size=4, verbose=0).history
    values = log["confidence_weighted_distillation"]
    assert values[-1] < 0.5 * values[0]


def test_confidence_weights_need_that_many_teachers(teachers):
    """A tap that finds nothing would say so in other words, and later."""
    for teacher, count in ((keras_kd.teachers.Ensemble(teachers), 2), (teachers[0], 3)):
        loss = keras_kd.losses.ConfidenceWeightedDistillation(count)
        with pytest.raises(ValueError, match=f"ensemble of {count} teachers.*Ensemble"):
            keras_kd.Distiller(teacher, classifier(), loss)
    with pytest.raises(ValueError, match="`num_teachers` must be an integer"):
        keras_kd.losses.ConfidenceWeightedDistillation(1)
