"""Runs across clients, tasks and peers: what is shared, kept and forgotten."""

import keras
import numpy as np
import pytest

from keras_kd import recipes
from tests.recipes.settings import build, data, quick, tasks, training
from tests.training.helpers import values_of


def clients():
    """Return two clients that each lack two classes."""
    x, y = data(400, seed=1)
    return [(x[y < 2], y[y < 2]), (x[y >= 2], y[y >= 2])]


def test_clients_learn_classes_that_they_have_never_seen(tmp_path):
    """What federated distillation is for."""
    x, y = data(400, seed=3)
    own = clients()
    stages = recipes.federated(
        [lambda: build(12), lambda: build(16)],
        own,
        data(300, seed=5)[0],
        quick(x, y),
        directory=tmp_path,
        rounds=3,
        public_training=quick(x, y, epochs=20),
        verbose=0,
    )
    gains = []
    for client, stage in enumerate(stages):
        alone = build(12)
        quick(*own[client]).compile(alone)
        alone.fit(*own[client], epochs=16, batch_size=40, verbose=0)
        unseen = (y >= 2) if client == 0 else (y < 2)
        got = stage.student.predict(x[unseen], verbose=0).argmax(-1) == y[unseen]
        without = alone.predict(x[unseen], verbose=0).argmax(-1) == y[unseen]
        gains.append(got.mean() - without.mean())
    # What two models that disagree average to need not favour either of them.
    assert np.mean(gains) > 0.3


def test_clients_share_predictions_on_public_data_alone(tmp_path, monkeypatch):
    """A weight or an example that leaves its client ends the promise."""
    seen = []
    fit = keras.Model.fit

    def spy(model, x, **arguments):
        seen.append(x.x)
        return fit(model, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", spy)
    public = data(30, seed=5)[0]
    recipes.federated(
        [lambda: build(8), lambda: build(6)],
        clients(),
        public,
        training(epochs=1),
        directory=tmp_path,
        rounds=2,
        verbose=0,
    )
    means = []
    for number in range(2):
        with np.load(tmp_path / f"shared_{number}/arrays.npz") as shared:
            assert {name: shared[name].shape for name in shared} == {
                "client_0": (30, 4),
                "client_1": (30, 4),
            }
            assert not np.allclose(shared["client_0"], shared["client_1"])
            means += 2 * [(shared["client_0"] + shared["client_1"]) / 2]
    own = [x.tobytes() for x, _ in clients()]
    # Own examples twice, public ones twice, each round; no client sees another's.
    kinds = [
        own.index(x.tobytes()) if isinstance(x, np.ndarray) else "public" for x in seen
    ]
    assert kinds == [0, 1, "public", "public"] * 2
    given = [x for x in seen if isinstance(x, dict)]
    for x, mean in zip(given, means, strict=True):
        assert sorted(x) == ["log_probabilities", "public"]
        np.testing.assert_array_equal(x["public"], public)
        np.testing.assert_allclose(np.exp(x["log_probabilities"]), mean, rtol=1e-5)


def old_accuracy(tmp_path, name, **changes):
    x, y = data(400, seed=6)
    parts = [(x[y < 2], y[y < 2]), (x[y >= 2], y[y >= 2])]
    stages = recipes.learn_without_forgetting(
        lambda classes: build(16, classes),
        parts,
        quick(x, y, epochs=12),
        directory=tmp_path / name,
        verbose=0,
        **changes,
    )
    x, y = data(400, seed=3)
    right = stages[-1].student.predict(x, verbose=0).argmax(-1) == y
    return right[y < 2].mean(), right[y >= 2].mean()


def test_old_classes_are_kept(tmp_path):
    """A model that learns the new and loses the old has learned nothing."""
    forgotten, _ = old_accuracy(tmp_path, "without", distillation_weight=0.0)
    kept, new = old_accuracy(tmp_path, "with", distillation_weight=1.0, replay=10)
    assert forgotten < 0.2
    assert kept > forgotten + 0.3
    assert new > 0.6


def test_replayed_examples_are_as_many_as_asked_for(tmp_path, monkeypatch):
    """A memory that holds more than it was allowed is a breach of contract."""
    seen = []
    fit = keras.Model.fit

    def spy(model, x, **arguments):
        seen.append(np.array(x.y))
        return fit(model, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", spy)
    for replay in (0, 3):
        seen.clear()
        recipes.learn_without_forgetting(
            lambda classes: build(8, classes),
            tasks(),
            training(epochs=1),
            directory=tmp_path / str(replay),
            replay=replay,
            verbose=0,
        )
        assert [(seen[1] == label).sum() for label in (0, 1)] == [replay] * 2
        assert (seen[1] >= 2).sum() == (tasks()[1][1] >= 2).sum()


def test_peers_of_a_recipe_are_plain_models(tmp_path):
    """Whoever deploys a peer must not deploy its group."""
    stages = recipes.mutual_learning(
        [lambda: build(8), lambda: build(6)],
        training(epochs=2),
        directory=tmp_path,
        verbose=0,
    )
    assert [stage.name for stage in stages] == ["peer_0", "peer_1"]
    assert {"peer_0_accuracy", "mutual_distillation"} <= set(stages[0].history)
    assert len(values_of(stages[0].student.weights)) == len(build().weights)


def test_malformed(tmp_path):
    """Messages come before anything is trained."""
    made = training(epochs=1)
    arguments = {"directory": tmp_path, "verbose": 0}
    with pytest.raises(ValueError, match="`clients` must hold one pair"):
        recipes.federated([build, build], [data()], data()[0], made, **arguments)
    with pytest.raises(ValueError, match="`rounds` must be an integer"):
        recipes.federated(
            [build, build], clients(), data()[0], made, rounds=0, **arguments
        )
    with pytest.raises(ValueError, match="`tasks` must number their classes on"):
        recipes.learn_without_forgetting(build, tasks()[::-1], made, **arguments)
    with pytest.raises(ValueError, match="`tasks` must hold at least two"):
        recipes.learn_without_forgetting(build, tasks()[:1], made, **arguments)
    with pytest.raises(ValueError, match="`temperature` must be a number"):
        recipes.federated(
            [build, build], clients(), data()[0], made, temperature=0, **arguments
        )
    with pytest.raises(ValueError, match="must return a model that takes `public`"):
        recipes.federated(
            [build, build], clients(), np.zeros((9, 5)), made, **arguments
        )
    with pytest.raises(ValueError, match="with the same number of classes"):
        recipes.federated(
            [build, lambda: build(8, 3)], clients(), data()[0], made, **arguments
        )
    x, y = data()
    with pytest.raises(ValueError, match="one row per example"):
        recipes.federated([build, build], [(x, y), (x, y[1:])], x, made, **arguments)
    weighted = training(sample_weight=np.ones(48))
    with pytest.raises(ValueError, match="`training.sample_weight` must be None"):
        recipes.learn_without_forgetting(build, tasks(), weighted, **arguments)
    with pytest.raises(ValueError, match="`temperature` must be a number"):
        recipes.learn_without_forgetting(
            build, tasks(), made, temperature=0, **arguments
        )
    with pytest.raises(ValueError, match="`distillation_weight` must be a number"):
        recipes.learn_without_forgetting(
            build, tasks(), made, distillation_weight=-1, **arguments
        )
    one = [(x[y == 0], y[y == 0]), (x[y == 1], y[y == 1])]
    with pytest.raises(ValueError, match="must begin with at least two classes"):
        recipes.learn_without_forgetting(build, one, made, **arguments)
    with pytest.raises(ValueError, match="`replay` must be an integer"):
        recipes.learn_without_forgetting(build, tasks(), made, replay=-1, **arguments)
    assert not list(tmp_path.iterdir())


FORMS = {
    "indices": lambda y: y,
    "a column": lambda y: y[:, None],
    "one-hot": lambda y: np.eye(4, dtype="float32")[y],
    "floats": lambda y: y.astype("float32"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_task_is_measured_on_the_classes_so_far(form, tmp_path, monkeypatch):
    """In whichever form labels come, the student of a task is the same.

    Those of classes to come would be no labels of the model at all.
    """
    seen = []
    fit = keras.Model.fit

    def spy(model, x, **arguments):
        seen.append((x.y, arguments["validation_data"]))
        return fit(model, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", spy)
    one_hot = form == "one-hot"

    def compile_for_form(model):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if one_hot:
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01), loss)

    given = FORMS[form]
    x, y = data(seed=2)
    validation = [x, given(y), np.arange(len(y), dtype="float32")]

    def run(folder, tasks, made):
        return recipes.learn_without_forgetting(
            lambda classes: build(8, classes),
            tasks,
            made,
            directory=tmp_path / folder,
            replay=2,
            verbose=0,
        )

    made = training(epochs=1, compile=compile_for_form, validation_data=validation)
    stages = run("given", [(x, given(y)) for x, y in tasks()], made)
    assert "val_loss" in stages[0].history
    for (labels, (shown, known, weights)), classes in zip(seen, (2, 4), strict=True):
        wanted = y[y < classes]
        width = {"a column": (1,), "one-hot": (classes,)}.get(form, ())
        assert known.shape == (len(wanted), *width)
        assert labels.shape[1:] == width
        indices = known.argmax(-1) if one_hot else known.reshape(-1)
        np.testing.assert_array_equal(indices, wanted)
        np.testing.assert_array_equal(shown, x[y < classes])
        np.testing.assert_array_equal(weights, np.flatnonzero(y < classes))
    plain = training(epochs=1, compile=made.compile)
    if not one_hot:
        (wanted, got) = (run("plain", tasks(), plain)[-1], stages[-1])
        for one, other in zip(
            values_of(wanted.student.weights),
            values_of(got.student.weights),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_inputs_of_a_task_may_be_a_dict(tmp_path):
    """What every other recipe takes, this one takes as well."""

    def build_of_dict(classes):
        inputs = {"image": keras.Input((6,), name="image")}
        hidden = keras.layers.Dense(8, name="hidden")(inputs["image"])
        return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(hidden))

    parts = [({"image": x}, y) for x, y in tasks()]
    x, y = data(seed=2)
    stages = recipes.learn_without_forgetting(
        build_of_dict,
        parts,
        training(epochs=1, validation_data=({"image": x}, y)),
        directory=tmp_path,
        replay=1,
        verbose=0,
    )
    assert len(stages) == 2


def test_one_task_more(tmp_path):
    """A new task is what continual learning waits for."""
    x, y = data()
    cuts = [(0, 2), (2, 3), (3, 4)]
    parts = [(x[(y >= a) & (y < b)], y[(y >= a) & (y < b)]) for a, b in cuts]

    def run(count):
        return recipes.learn_without_forgetting(
            lambda classes: build(8, classes),
            parts[:count],
            training(epochs=1),
            directory=tmp_path,
            verbose=0,
        )

    before = run(2)
    after = run(3)
    assert [stage.name for stage in after] == ["task_0", "task_1", "task_2"]
    for old, new in zip(before, after, strict=False):
        for one, other in zip(
            values_of(old.student.weights), values_of(new.student.weights), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_clients_with_one_hot_labels(tmp_path):
    """What is shared is learned with the loss that the clients were compiled with."""

    def compile_one_hot(model):
        model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))

    parts = [(x, np.eye(4)[y]) for x, y in clients()]
    made = training(epochs=1, compile=compile_one_hot)
    stages = recipes.federated(
        [build, build], parts, data()[0], made, directory=tmp_path, rounds=1, verbose=0
    )
    assert len(stages) == 2
