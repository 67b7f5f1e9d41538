"""Runs across clients, tasks and peers: what is shared, kept and forgotten."""

import keras
import numpy as np
import pytest

from keras_kd import recipes
from tests.recipes.settings import build, data, tasks, training
from tests.training.helpers import values_of


def clients():
    """Return two clients that each lack two classes."""
    x, y = data(400, seed=1)
    return [(x[y < 2], y[y < 2]), (x[y >= 2], y[y >= 2])]


def test_clients_learn_classes_that_they_have_never_seen(tmp_path):
    """What federated distillation is for."""
    x, y = data(400, seed=3)
    made = training(epochs=10)
    stages = recipes.federated(
        [lambda: build(12), lambda: build(16)],
        clients(),
        data(300, seed=5)[0],
        made,
        directory=tmp_path,
        rounds=3,
        public_training=training(epochs=20),
        verbose=0,
    )
    gains = []
    for place, stage in enumerate(stages):
        alone = build(12)
        own = clients()[place]
        made.compile(alone)
        alone.fit(*own, epochs=20, verbose=0)
        unseen = (y >= 2) if place == 0 else (y < 2)
        got = stage.student.predict(x[unseen], verbose=0).argmax(-1) == y[unseen]
        without = alone.predict(x[unseen], verbose=0).argmax(-1) == y[unseen]
        gains.append(got.mean() - without.mean())
    # What two models that disagree average to need not favour either of them.
    assert np.mean(gains) > 0.3


def test_clients_share_answers_to_public_data_alone(tmp_path, monkeypatch):
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
    x, y = data(600, seed=6)
    parts = [(x[y < 2], y[y < 2]), (x[y >= 2], y[y >= 2])]
    stages = recipes.learn_without_forgetting(
        lambda classes: build(16, classes),
        parts,
        training(epochs=10),
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


def test_a_model_that_cannot_take_over_its_past_is_refused(tmp_path):
    """Unnamed layers would start anew, and what they knew be forgotten in silence."""

    def unnamed(classes):
        return keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(8),
                keras.layers.Dense(classes, name="logits"),
            ]
        )

    with pytest.raises(ValueError, match="Name all layers"):
        recipes.learn_without_forgetting(
            unnamed, tasks(), training(epochs=1), directory=tmp_path, verbose=0
        )


def test_a_task_is_measured_on_the_classes_so_far(tmp_path, monkeypatch):
    """Labels of classes to come would be no labels of the model at all."""
    seen = []
    fit = keras.Model.fit

    def spy(model, x, **arguments):
        seen.append(arguments["validation_data"][1])
        return fit(model, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", spy)
    made = training(epochs=1, validation_data=data(seed=2))
    stages = recipes.learn_without_forgetting(
        lambda classes: build(8, classes), tasks(), made, directory=tmp_path, verbose=0
    )
    assert [set(y) for y in seen] == [{0, 1}, {0, 1, 2, 3}]
    assert "val_loss" in stages[0].history


def test_clients_with_one_hot_labels(tmp_path):
    """The answers are learned with the loss that the clients were compiled with."""

    def compile_one_hot(model):
        model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))

    parts = [(x, np.eye(4)[y]) for x, y in clients()]
    made = training(epochs=1, compile=compile_one_hot)
    stages = recipes.federated(
        [build, build], parts, data()[0], made, directory=tmp_path, rounds=1, verbose=0
    )
    assert len(stages) == 2
