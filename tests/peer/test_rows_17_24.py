"""Rows 17 to 24 of the comparison with `keras.distillation`.

Each test shows the peer's own wrong value or behaviour, and the right one of ours.
"""

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import keras_kd
from tests.peer import helpers
from tests.peer.helpers import BACKEND, peer, repaired


def _half_precision_teacher():
    logits = keras.layers.Dense(3, dtype="bfloat16", name="logits")
    return helpers.randomised(keras.Sequential([keras.Input((4,)), logits]), 1)


def _teacher_with_an_extra_head():
    x = keras.Input((4,))
    heads = [keras.layers.Dense(3, name="logits")(x), keras.layers.Dense(1)(x)]
    return helpers.randomised(keras.Model(x, heads), 1)


def _layer():
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    return helpers.randomised(layer, 1)


@pytest.mark.parametrize(
    "make_teacher, output, answer, refusal",
    [
        (_half_precision_teacher, None, lambda outputs: outputs, "dtypes must match"),
        (_teacher_with_an_extra_head, (0, None), lambda outputs: outputs[0], "arity"),
        (_layer, None, lambda outputs: outputs, "must be a keras.Model"),
    ],
    ids=["bfloat16 teacher", "extra head", "a layer"],
)
def test_row_17_teachers_of_another_kind(make_teacher, output, answer, refusal):
    """The teacher that is at hand has to be rebuilt to look like the student."""
    x, y = helpers.batch()
    teacher, student = make_teacher(), helpers.mlp(4, seed=2)
    with pytest.raises(ValueError, match=refusal):
        peer.Distiller(teacher, student, repaired())

    loss = keras_kd.LogitsDistillation(output=output)
    logs = helpers.one_step(keras_kd.Distiller(teacher, student, loss), x, y)
    outputs = keras.tree.map_structure(
        lambda value: keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")),
        teacher(keras.ops.convert_to_tensor(x)),
    )
    right = helpers.kl(answer(outputs), helpers.predict(student, x)).mean()
    # Compiled, a bfloat16 teacher may be rounded at fewer places.
    precision = 0.02 if make_teacher is _half_precision_teacher else 1e-4
    assert logs["distillation_loss"] == pytest.approx(right, rel=precision)


def test_row_17_a_teacher_of_other_inputs():
    """A teacher that reads a larger picture, or one more feature, is out of reach."""
    x, y = helpers.batch(inputs=6)
    teacher, student = helpers.mlp(8, inputs=6, seed=1), helpers.mlp(4, seed=2)
    with pytest.raises(ValueError, match="input shapes are incompatible"):
        peer.Distiller(teacher, student, repaired())

    distiller = keras_kd.Distiller(
        teacher,
        student,
        keras_kd.LogitsDistillation(),
        teacher_inputs=lambda x: 2.0 * x,
        student_inputs=lambda x: x[:, :4],
    )
    logs = helpers.one_step(distiller, x, y)
    t, s = helpers.predict(teacher, 2.0 * x), helpers.predict(student, x[:, :4])
    assert logs["distillation_loss"] == pytest.approx(helpers.kl(t, s).mean(), rel=1e-4)
    assert logs["student_loss"] == pytest.approx(helpers.task(s, y).mean(), rel=1e-4)


def test_row_18_the_teachers_flags_are_its_own():
    """Which layers of the teacher were frozen is lost when it is trained again."""
    x, y = helpers.batch()
    for module, loss, kept in (
        (peer, repaired(), False),
        (keras_kd, keras_kd.LogitsDistillation(), True),
    ):
        teacher, student = helpers.mlp(8, seed=1), helpers.mlp(4, seed=2)
        teacher.get_layer("hidden").trainable = False
        flags = [layer.trainable for layer in (teacher, *teacher.layers)]
        before = helpers.weights_of(teacher)
        helpers.one_step(
            module.Distiller(teacher, student, loss), x, y, learning_rate=1.0
        )
        after = [layer.trainable for layer in (teacher, *teacher.layers)]
        assert (after == flags) is kept
        assert any(after) is kept
        assert all(map(np.array_equal, before, helpers.weights_of(teacher)))


def test_row_18_a_layer_of_both_models_trains():
    """A student that starts from the teacher's own backbone never trains it."""
    x, y = helpers.batch()

    def student_on_a_teacher():
        teacher = helpers.mlp(8, seed=1)
        shared = teacher.get_layer("hidden").output
        student = keras.Model(teacher.input, keras.layers.Dense(3)(shared))
        helpers.randomised(student.layers[-1], 5)
        return teacher, student

    _, alone = student_on_a_teacher()
    before = helpers.weights_of(alone)
    alone.compile(keras.optimizers.SGD(1.0), helpers.crossentropy())
    alone.fit(x, y, batch_size=len(x), verbose=0)
    assert np.abs(helpers.weights_of(alone)[0] - before[0]).max() > 1e-3

    for module, loss, trains in (
        (peer, repaired(), False),
        (keras_kd, keras_kd.LogitsDistillation(), True),
    ):
        teacher, student = student_on_a_teacher()
        distiller = module.Distiller(teacher, student, loss, None, 1.0)
        helpers.one_step(distiller, x, y, learning_rate=1.0)
        shared, *_ = helpers.weights_of(student)
        expected = helpers.weights_of(alone)[0] if trains else before[0]
        np.testing.assert_allclose(shared, expected, rtol=1e-4, atol=1e-6)


def _compiled(module, loss, **kwargs):
    distiller = module.Distiller(
        helpers.mlp(16, seed=1), helpers.mlp(4, seed=2), loss, **kwargs
    )
    distiller.compile(keras.optimizers.Adam(0.05), helpers.crossentropy(), ["accuracy"])
    return distiller


def _fit(distiller, epochs=1):
    x, y = helpers.batch(16)
    return distiller.fit(
        x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0
    ).history


def test_row_19_a_loaded_distiller_goes_on(tmp_path):
    """An interrupted training starts over, and only after a new `compile`."""
    theirs, path = _compiled(peer, repaired()), tmp_path / "peer.keras"
    _fit(theirs)
    theirs.save(path)
    with pytest.warns(UserWarning, match="`compile\\(\\)` was not called"):
        loaded = keras.saving.load_model(path)
    assert getattr(loaded, "optimizer", None) is None
    with pytest.raises(AttributeError, match="object has no attribute"):
        _fit(loaded)

    uninterrupted = _compiled(keras_kd, keras_kd.LogitsDistillation())
    path = tmp_path / "ours.keras"
    _fit(uninterrupted)
    uninterrupted.save(path)
    loaded = keras.saving.load_model(path)
    assert int(loaded.optimizer.iterations) == 2
    assert _fit(loaded) == _fit(uninterrupted)
    for resumed, right in zip(
        helpers.weights_of(loaded.student),
        helpers.weights_of(uninterrupted.student),
        strict=True,
    ):
        np.testing.assert_array_equal(resumed, right)


def _weights_in(path: Path) -> list[np.ndarray]:
    """Return all arrays of a saved model."""
    found: list[np.ndarray] = []
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        h5py.File(file).visititems(
            lambda _, item: (
                found.append(np.array(item)) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def test_row_19_the_teacher_may_stay_out_of_the_file(tmp_path):
    """Every checkpoint of a small student is as large as its teacher."""

    def holds(path, kernel):
        return any(
            w.shape == kernel.shape and np.array_equal(w, kernel)
            for w in _weights_in(path)
        )

    path = tmp_path / "distiller.keras"
    theirs = _compiled(peer, repaired())
    _fit(theirs)
    theirs.save(path)
    assert holds(path, np.array(theirs.teacher.get_layer("hidden").kernel))

    ours = _compiled(keras_kd, keras_kd.LogitsDistillation(), save_teacher=False)
    _fit(ours)
    ours.save(path)
    assert not holds(path, np.array(ours.teacher.get_layer("hidden").kernel))
    assert holds(path, np.array(ours.student.get_layer("hidden").kernel))
    with pytest.raises(ValueError, match="holds no teacher"):
        keras.saving.load_model(path)
    loaded = keras_kd.load_distiller(path, teacher=ours.teacher)
    assert _fit(loaded) == _fit(ours)


def _two_heads(seed: int) -> keras.Model:
    x = keras.Input((4,))
    heads = {name: keras.layers.Dense(3, name=name)(x) for name in ("a", "b")}
    return helpers.randomised(keras.Model(x, heads), seed)


def test_row_20_metrics_for_each_output():
    """The accuracy of one task among several cannot be watched."""
    x, y = helpers.batch()
    teacher, student = _two_heads(1), _two_heads(2)
    labels, metrics = {"a": y, "b": (y + 1) % 3}, {"b": ["accuracy"]}
    losses = {"a": helpers.crossentropy(), "b": helpers.crossentropy()}
    loss = peer.LogitsDistillation(loss=dict.fromkeys("ab", "kl_divergence"))
    with pytest.raises(ValueError, match="metrics must be a list"):
        peer.Distiller(teacher, student, loss).compile("sgd", losses, metrics)

    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation())
    logs = helpers.one_step(distiller, x, labels, loss=losses, metrics=metrics)
    guesses = helpers.predict(student, x)["b"].argmax(axis=-1)
    assert logs["b_accuracy"] == pytest.approx(np.mean(guesses == labels["b"]))
    assert "a_accuracy" not in logs


def test_row_20_no_task_loss():
    """A student cannot learn from the teacher alone, where there are no labels."""
    x, _ = helpers.batch()
    teacher, student = helpers.mlp(8, seed=1), helpers.mlp(4, seed=2)
    with pytest.raises(ValueError, match="'loss' cannot be `None`"):
        peer.Distiller(teacher, student, repaired(), None, 0.0).compile("sgd", None)

    loss = keras_kd.LogitsDistillation()
    distiller = keras_kd.Distiller(teacher, student, loss, None, 0.0)
    t, s = helpers.predict(teacher, x), helpers.predict(student, x)
    before = helpers.weights_of(student)[3]
    logs = helpers.one_step(distiller, x, loss=None, learning_rate=1.0)
    assert logs["loss"] == pytest.approx(helpers.kl(t, s).mean(), rel=1e-4)
    gradient = 3.0 * (helpers.softmax(s / 3.0) - helpers.softmax(t / 3.0)).mean(axis=0)
    np.testing.assert_allclose(
        before - helpers.weights_of(student)[3], gradient, rtol=1e-3, atol=1e-6
    )


def test_row_20_loss_weights():
    """The weight of the task is accepted and has no effect."""
    x, y = helpers.batch()
    teacher, student = helpers.mlp(8, seed=1), helpers.mlp(4, seed=2)
    right = helpers.task(helpers.predict(student, x), y).mean()
    for module, loss, factor in (
        (peer, repaired(), 1.0),
        (keras_kd, keras_kd.LogitsDistillation(), 4.0),
    ):
        distiller = module.Distiller(teacher, student, loss)
        distiller.compile("sgd", helpers.crossentropy(), loss_weights=[4.0])
        history = distiller.fit(x, y, batch_size=len(x), verbose=0).history
        assert history["student_loss"] == [pytest.approx(factor * right, rel=1e-4)]
        teacher, student = helpers.mlp(8, seed=1), helpers.mlp(4, seed=2)


def test_row_21_changes_between_epochs_take_effect():
    """A temperature that is annealed by hand stays where it was compiled."""
    x, y = helpers.batch()
    teacher, student = helpers.mlp(8, seed=1), helpers.mlp(4, seed=2)
    t, s = helpers.predict(teacher, x), helpers.predict(student, x)
    task = helpers.task(s, y).mean()

    def after_a_change(module, loss):
        distiller = module.Distiller(teacher, student, loss, None, 0.5)
        helpers.one_step(distiller, x, y)
        loss.temperature = 6.0
        distiller.student_loss_weight = 0.1
        history = distiller.fit(x, y, batch_size=len(x), verbose=0).history
        return history["distillation_loss"][0], history["total_loss"][0]

    old, new = helpers.kl(t, s, 1.0).mean(), helpers.kl(t, s, 6.0).mean()
    assert abs(old - new) > 0.05 * new
    stale = (old, 0.5 * task + 0.5 * old)
    right = (new, 0.1 * task + 0.9 * new)
    # On torch nothing is compiled, so there the peer follows.
    followed = right if BACKEND == "torch" else stale
    assert after_a_change(peer, repaired(1.0)) == pytest.approx(followed, rel=1e-4)
    ours = after_a_change(keras_kd, keras_kd.LogitsDistillation(1.0))
    assert ours == pytest.approx(right, rel=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_row_22_replicas_compute_what_one_device_does():
    """On two GPUs the learning rate is double, or the logs are half of the truth."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.peer.mirrored_strategy"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])

    def gradient(name):
        return np.array(runs[name]["gradient"])

    def logs(name):
        return runs[name]["logs"]

    # Losses by name are averaged over each replica, and their gradients are added.
    one, two = (gradient(f"peer, by name, {count}") for count in ("one", "two"))
    np.testing.assert_allclose(two, 2.0 * one, rtol=1e-4)
    # Loss objects are scaled for the sum over the replicas, which metrics do not take.
    one, two = (logs(f"peer, by object, {count}") for count in ("one", "two"))
    for metric in ("student_loss", "distillation_loss", "total_loss"):
        assert two[metric] == pytest.approx(0.5 * one[metric], rel=1e-4)

    for kind in ("by name", "by object"):
        one, two = f"ours, {kind}, one", f"ours, {kind}, two"
        np.testing.assert_allclose(gradient(two), gradient(one), rtol=1e-4, atol=1e-7)
        assert logs(two) == pytest.approx(logs(one), rel=1e-5)
        # On one device both compute the same.
        np.testing.assert_allclose(
            gradient(one), gradient(f"peer, {kind}, one"), rtol=1e-4, atol=1e-7
        )


def _with_softmax(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, keras.layers.Softmax()(model.output))


def test_row_23_probabilities_are_not_taken_for_logits():
    """Softmax of a softmax is nearly flat: there is next to nothing to learn from."""
    x, y = helpers.batch()
    teacher = _with_softmax(helpers.mlp(8, seed=1))
    student = _with_softmax(helpers.mlp(4, seed=2))
    p, q = helpers.predict(teacher, x), helpers.predict(student, x)
    right, wrong = helpers.kl(np.log(p), np.log(q)).mean(), helpers.kl(p, q).mean()
    assert wrong < 0.5 * right
    task_loss = keras.losses.SparseCategoricalCrossentropy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distiller = peer.Distiller(teacher, student, repaired())
        logs = helpers.one_step(distiller, x, y, loss=task_loss)
    assert logs["distillation_loss"] == pytest.approx(wrong, rel=1e-3)

    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation())
    with pytest.raises(ValueError, match="probabilities.*softmax.*from_logits=False"):
        helpers.one_step(distiller, x, y, loss=task_loss)
    np.testing.assert_array_equal(helpers.predict(student, x), q)

    loss = keras_kd.LogitsDistillation(from_logits=False)
    distiller = keras_kd.Distiller(teacher, student, loss)
    logs = helpers.one_step(distiller, x, y, loss=task_loss)
    assert logs["distillation_loss"] == pytest.approx(right, rel=1e-4)


def test_row_24_each_loss_has_its_own_metric():
    """One number for all losses does not tell which of them learns, or dominates."""
    x, y = helpers.batch()
    teacher, student = helpers.mlp(4, seed=1), helpers.mlp(4, seed=2)
    kl = helpers.kl(helpers.predict(teacher, x), helpers.predict(student, x)).mean()
    gap = helpers.features_of(teacher, x) - helpers.features_of(student, x)
    mse, weights = np.mean(gap**2), [2.0, 30.0]
    common = {
        "loss": pytest.approx(
            0.5 * helpers.task(helpers.predict(student, x), y).mean()
            + 0.5 * (2.0 * kl + 30.0 * mse),
            rel=1e-4,
        ),
        "distillation_loss": pytest.approx(2.0 * kl + 30.0 * mse, rel=1e-4),
    }

    losses = [repaired(), peer.FeatureDistillation("mse", "hidden", "hidden")]
    logs = helpers.one_step(peer.Distiller(teacher, student, losses, weights), x, y)
    assert set(logs) == {"loss", "student_loss", "distillation_loss", "total_loss"}
    assert {name: logs[name] for name in common} == common

    losses = [
        keras_kd.LogitsDistillation(),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    ]
    distiller = keras_kd.Distiller(teacher, student, losses, weights)
    logs = helpers.one_step(distiller, x, y)
    assert {name: logs[name] for name in common} == common
    assert logs["logits_distillation"] == pytest.approx(kl, rel=1e-4)
    assert logs["feature_distillation"] == pytest.approx(mse, rel=1e-4)
