"""Code for `keras.distillation` runs with the import changed, and our losses in it."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest

import keras_kd
from tests.peer import helpers
from tests.peer.helpers import BACKEND, peer, repaired

NAMES = ("loss", "student_loss", "distillation_loss", "total_loss")


def _trained(module, losses, weights=None, *, classes=3):
    """Fit two epochs as a user of the stock would; return history and weights."""
    x, y = helpers.batch(16, classes=classes)
    teacher, student = helpers.mlp(5, seed=1), helpers.mlp(5, seed=2)
    distiller = module.Distiller(teacher, student, losses, weights, 0.3, "kd")
    assert distiller.name == "kd"
    distiller.compile(
        keras.optimizers.SGD(0.1), helpers.crossentropy(), [_accuracy_metric()]
    )
    history = distiller.fit(
        x, y, batch_size=8, epochs=2, shuffle=False, verbose=0
    ).history
    assert not np.array_equal(
        helpers.weights_of(student)[0], helpers.weights_of(helpers.mlp(5, seed=2))[0]
    )
    return history, helpers.weights_of(student)


def _accuracy_metric():
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def _assert_equal_runs(one, other):
    for name in (*NAMES, "accuracy"):
        np.testing.assert_allclose(one[0][name], other[0][name], rtol=1e-4, atol=1e-6)
    for theirs, ours in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def _features(module):
    return module.FeatureDistillation("mse", "hidden", "hidden")


@pytest.fixture(scope="module")
def stock_run():
    """Return what the stock's Distiller makes of its own repaired losses."""
    return _trained(peer, [repaired(), _features(peer)], [2.0, 0.5])


def test_only_the_import_changes(stock_run):
    losses = [
        keras_kd.LogitsDistillation(3.0, keras.losses.KLDivergence()),
        _features(keras_kd),
    ]
    _assert_equal_runs(stock_run, _trained(keras_kd, losses, [2.0, 0.5]))


def test_the_losses_of_the_stock_run_in_our_distiller(stock_run):
    losses = [repaired(), _features(peer)]
    run = _trained(keras_kd, losses, [2.0, 0.5])
    _assert_equal_runs(stock_run, run)
    history, _ = run
    np.testing.assert_allclose(
        history["distillation_loss"],
        2.0 * np.array(history["logits_distillation"])
        + 0.5 * np.array(history["feature_distillation"]),
        rtol=1e-5,
    )


class SquaredGap(peer.DistillationLoss):
    """As in the documentation of `keras.distillation.DistillationLoss`."""

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return keras.ops.mean(keras.ops.square(teacher_outputs - student_outputs))


class SquaredGapOfOurs(keras_kd.DistillationLoss):
    """The same, where only the import was changed."""

    compute_loss = SquaredGap.compute_loss


class Picky(SquaredGap):
    """Refuses models that it was not made for."""

    def validate_model_compatibility(self, teacher, student):
        raise ValueError("made for other models")


class NotScalar(SquaredGap):
    """Breaks the stock's contract."""

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return teacher_outputs - student_outputs


# The stock reads these names of every loss, but gives its base class none of them.
SquaredGap.teacher_layer_name = SquaredGap.student_layer_name = None


def test_a_users_loss_runs_unchanged():
    theirs = _trained(peer, SquaredGap())
    ours = _trained(keras_kd, SquaredGap())
    _assert_equal_runs(theirs, ours)
    assert ours[0]["squared_gap"] == pytest.approx(ours[0]["distillation_loss"])
    _assert_equal_runs(theirs, _trained(keras_kd, SquaredGapOfOurs()))


def test_a_users_loss_keeps_its_checks():
    with pytest.raises(ValueError, match="made for other models"):
        _trained(keras_kd, Picky())
    with pytest.raises(ValueError, match="must return a scalar"):
        _trained(keras_kd, NotScalar())


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras_kd.LogitsDistillation(2.0),
        lambda: keras_kd.LogitsDistillation(2.0, "jensen_shannon_divergence"),
        lambda: keras_kd.FeatureDistillation("mae", "hidden", "hidden"),
        lambda: keras_kd.HardLabelDistillation(),
    ],
    ids=["logits", "Jensen-Shannon", "features", "hard labels"],
)
def test_our_losses_run_in_the_stocks_distiller(make):
    _assert_equal_runs(_trained(peer, make()), _trained(keras_kd, make()))


def _convolutional(width: int, seed: int) -> keras.Model:
    x = keras.Input((4, 4, 2))
    h = keras.layers.Conv2D(width, 2, activation="relu", name="hidden")(x)
    h = keras.layers.GlobalAveragePooling2D()(h)
    return helpers.randomised(keras.Model(x, keras.layers.Dense(3)(h)), seed)


def test_our_attention_transfer_runs_in_the_stocks_distiller():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4, 4, 2)).astype("float32"), np.zeros(8, "int32")
    values = [
        helpers.one_step(
            module.Distiller(
                _convolutional(4, 1),
                _convolutional(3, 2),
                keras_kd.AttentionTransfer("hidden", "hidden"),
            ),
            x,
            y,
        )["distillation_loss"]
        for module in (peer, keras_kd)
    ]
    assert values[0] > 0.0
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_what_the_stock_cannot_feed_is_a_clear_error():
    x, y = helpers.batch()

    def fit(loss, module=peer):
        teacher, student = helpers.mlp(8, seed=1), helpers.mlp(5, seed=2)
        helpers.one_step(module.Distiller(teacher, student, loss), x, y)

    with pytest.raises(ValueError, match="attention probabilities.*keras_kd.Distiller"):
        fit(keras_kd.AttentionDistillation())
    schedule = keras.optimizers.schedules.PolynomialDecay(4.0, 10, 1.0)
    with pytest.raises(ValueError, match="schedule.*keras_kd.Distiller"):
        fit(keras_kd.LogitsDistillation(schedule))

    given = keras.layers.Dense(8)
    for projector in ("auto", given):
        features = keras_kd.FeatureDistillation(
            "mse", "hidden", "hidden", projector=projector
        )
        # Also where the cell is run again: an untrained projector would teach noise.
        for _ in range(2):
            with pytest.raises(ValueError, match="projector.*keras_kd.Distiller"):
                fit(features)
        # The same object trains where it can.
        fit(features, keras_kd)
        assert len(features.layers) == 1
    assert features.layers == [given]


def test_the_default_of_the_stock_warns_once():
    helpers.forget_warnings()
    teacher, student = helpers.mlp(5, seed=1), helpers.mlp(5, seed=2)

    def build(*losses):
        keras_kd.Distiller(teacher, student, list(losses))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(repaired(), _features(peer), peer.LogitsDistillation(loss="mse"))
    with pytest.warns(UserWarning, match="keras_kd.LogitsDistillation") as caught:
        build(helpers.default(), helpers.default(2.0))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(helpers.default())


@pytest.mark.parametrize("module", [peer, keras_kd], ids=["stock", "ours"])
def test_errors_are_value_errors(module):
    teacher, student = helpers.mlp(5, seed=1), helpers.mlp(5, seed=2)
    loss = repaired() if module is peer else keras_kd.LogitsDistillation()
    wrong = [
        ("not a model", student, loss),
        (teacher, "not a model", loss),
        (teacher, student, []),
        (teacher, student, [loss], [1.0, 2.0]),
        (teacher, student, loss, None, 1.5),
        (teacher, student, loss, None, -0.1),
        (teacher, student, loss, None, "0.5"),
        (teacher, student, module.FeatureDistillation("mse", "absent", "hidden")),
        (teacher, student, module.FeatureDistillation("mse", "hidden", "absent")),
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match="."):
            module.Distiller(*arguments)
    for temperature in (0.0, -1.0, "3"):
        with pytest.raises(ValueError, match="temperature"):
            module.LogitsDistillation(temperature)
    for build in (module.LogitsDistillation, module.FeatureDistillation):
        for nothing in (None, [None, None]):
            with pytest.raises(ValueError, match="(?i)at least one"):
                build(loss=nothing)
        with pytest.raises(ValueError, match="no such loss"):
            build(loss="no such loss")


@pytest.mark.parametrize("loss", [repaired, keras_kd.LogitsDistillation])
def test_a_reloaded_distiller_has_the_same_teacher(loss, tmp_path):
    x, y = helpers.batch()
    teacher, student = helpers.mlp(8, seed=1), helpers.mlp(4, seed=2)
    distiller = keras_kd.Distiller(teacher, student, loss(2.0), None, 0.3)
    helpers.one_step(distiller, x, y, learning_rate=0.1)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    for model, read in ((teacher, loaded.teacher), (student, loaded.student)):
        right, again = helpers.predict(model, x), helpers.predict(read, x)
        np.testing.assert_array_equal(again, right)
    assert loaded.student_loss_weight == 0.3
    assert type(loaded.distillation_losses[0]) is type(loss(2.0))
    assert loaded.distillation_losses[0].temperature == 2.0


# They assert that the teacher's flags were overwritten (row 18), and look at private
# feature extractors, which we do not have (rows 4 and 14).
NOT_OURS = {
    "test_distiller_initialization",
    "test_teacher_freezing",
    "test_feature_distillation_end_to_end",
    "test_multi_distillation_loss_distillation_end_to_end",
}


def test_the_stocks_own_tests_pass_with_the_import_changed(tmp_path):
    folder = Path(keras.__file__).parent / "src" / "distillation"
    if "dev" in keras.__version__ and not (folder / "distiller_test.py").exists():
        pytest.skip("the nightly's wheel comes without Keras's own tests")
    expected = set()
    for name in ("distiller_test.py", "distillation_loss_test.py"):
        text = (folder / name).read_text()
        expected |= set(re.findall(r"def (test_\w+)", text))
        text, changed = re.subn(
            r"from keras\.src\.distillation\.\w+ import", "from keras_kd import", text
        )
        assert changed >= 2
        assert "keras.src.distillation" not in text
        (tmp_path / name).write_text(text)
    # torch goes before TensorFlow, which Keras's data adapters import.
    (tmp_path / "conftest.py").write_text(f"import {BACKEND}\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--junitxml={report}", "distiller_test.py", "distillation_loss_test.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    outcome = {
        case.get("name"): {child.tag for child in case}
        for case in ElementTree.parse(report).iter("testcase")
        if case.get("name") in expected
    }
    assert set(outcome) == expected
    failed = {name for name, tags in outcome.items() if tags & {"failure", "error"}}
    assert failed == NOT_OURS, done.stdout
    assert not any("skipped" in tags for tags in outcome.values())
