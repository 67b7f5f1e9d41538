"""Runs of several fits: what each stage learns from whom, and what survives."""

import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd import recipes
from tests.recipes.settings import (
    RECIPES,
    build,
    compile_model,
    data,
    quick,
    teacher,
    training,
)
from tests.training.helpers import assert_same, values_of


class Interruption(Exception):
    """Stands for the power that fails."""


class Stop(keras.callbacks.Callback):
    """Raises at the beginning of one of all epochs of a run."""

    left = 0

    def on_epoch_begin(self, epoch, logs=None):
        if Stop.left == 0:
            Stop.left = -1
            raise Interruption
        Stop.left -= 1


def weights(stages):
    return [values_of(stage.student.weights) for stage in stages]


@pytest.mark.parametrize(
    ("name", "policy"),
    # Half precision adds a loss scale to what can get lost; two show that it can go.
    [
        *((name, "mixed_float16") for name in RECIPES),
        ("born_again", "float32"),
        ("stage_wise", "float32"),
    ],
)
def test_an_interrupted_run_goes_on_bit_for_bit(name, policy, tmp_path):
    """Whoever loses a night's run to the power must not get another student."""
    keras.config.set_dtype_policy(policy)
    try:
        whole = RECIPES[name](tmp_path / "whole", training())
        Stop.left = 4  # in the midst of the second stage
        stopping = training(callbacks=lambda: [Stop()])
        with pytest.raises(Interruption):
            RECIPES[name](tmp_path / "broken", stopping)
        keras.utils.set_random_seed(99)  # another process would have other numbers
        resumed = RECIPES[name](tmp_path / "broken", training())
        for got, wanted in zip(weights(resumed), weights(whole), strict=True):
            assert_same(got, wanted)
        assert [s.history for s in resumed] == [s.history for s in whole]
        # Read, not trained again: the first epoch of a training would stop it.
        Stop.left = 0
        again = RECIPES[name](tmp_path / "whole", stopping)
        for got, wanted in zip(weights(again), weights(whole), strict=True):
            assert_same(got, wanted)
        assert [s.history for s in again] == [s.history for s in whole]
        assert Stop.left == 0
        # Whoever goes on with a student finds it compiled, however it came to be.
        for stage in [*whole, *resumed, *again]:
            assert stage.student.compiled
            assert int(stage.student.optimizer.iterations) == 0
        x, y = data()
        known = y < whole[0].student.output_shape[-1]
        for stage in (whole[0], whole[-1], again[-1]):
            result = stage.student.evaluate(x[known], y[known], verbose=0)
            assert np.shape(result) == (2,)  # the loss, and the accuracy
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_killed_process_leaves_a_run_that_goes_on(policy, tmp_path):
    """SIGKILL asks no handler: what is on the disk must be enough, and complete."""
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "tests.recipes.finish", "born_again"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    killed = subprocess.run([*command, str(broken), policy, "4"], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert (broken / "generation_1/progress.json").exists()
    keras.config.set_dtype_policy(policy)
    try:
        # This process has built other models, and drawn other numbers.
        resumed, whole = (
            RECIPES["born_again"](folder, training())
            for folder in (broken, tmp_path / "whole")
        )
    finally:
        keras.config.set_dtype_policy("float32")
    for got, wanted in zip(weights(resumed), weights(whole), strict=True):
        assert_same(got, wanted)
    assert [s.history for s in resumed] == [s.history for s in whole]


class StopAtTheEnd(keras.callbacks.Callback):
    """Raises when all epochs of a stage are done and saved, and the stage is not."""

    armed = True

    def on_train_end(self, logs=None):
        if StopAtTheEnd.armed:
            StopAtTheEnd.armed = False
            raise Interruption


def averaged(model):
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
    compile_model(model)
    model.compile(optimizer, model.loss)


def test_what_happens_at_the_end_of_a_training_is_not_lost(tmp_path):
    """The averaged weights are put in only then: without it, others are kept."""
    made = training(compile=averaged)
    whole = RECIPES["born_again"](tmp_path / "whole", made)
    StopAtTheEnd.armed = True
    with pytest.raises(Interruption):
        RECIPES["born_again"](
            tmp_path / "broken",
            training(compile=averaged, callbacks=lambda: [StopAtTheEnd()]),
        )
    resumed = RECIPES["born_again"](tmp_path / "broken", made)
    for got, wanted in zip(weights(resumed), weights(whole), strict=True):
        assert_same(got, wanted)


def _uniform():
    """Draw as user code may, from a generator that all share."""
    return keras.ops.convert_to_numpy(keras.random.uniform((2,)))


class Draws(keras.callbacks.Callback):
    """Keeps arrays and numbers, and draws from the global generator."""

    seen: list

    def __init__(self):
        super().__init__()
        self.drawn = [np.zeros(2)]
        self.pair = {"last": (0, None)}

    def on_epoch_begin(self, epoch, logs=None):
        self.drawn.append(_uniform() + self.drawn[-1])
        self.pair["last"] = (epoch, float(self.drawn[-1][0]))
        Draws.seen = [self.drawn, self.pair]


STATEFUL = {
    "plateau": lambda: keras.callbacks.ReduceLROnPlateau(
        "loss", factor=0.5, patience=0, min_delta=0.2, cooldown=1
    ),
    "early": lambda: keras.callbacks.EarlyStopping(
        "loss", patience=1, min_delta=0.5, restore_best_weights=True
    ),
    "own": Draws,
}


@pytest.mark.parametrize("name", STATEFUL)
def test_callbacks_remember_across_an_interruption(name, tmp_path):
    """A patience that starts anew trains another student, or for ever."""
    made = training(epochs=6, callbacks=lambda: [STATEFUL[name]()])
    arguments = {"generations": 1, "verbose": 0}
    whole = recipes.born_again(build, made, directory=tmp_path / "whole", **arguments)
    remembered = getattr(Draws, "seen", None)
    # In the second stage, or after it where the first has stopped early.
    Stop.left = 8
    stopping = training(epochs=6, callbacks=lambda: [STATEFUL[name](), Stop()])
    broken = tmp_path / "broken"
    try:
        recipes.born_again(build, stopping, directory=broken, **arguments)
    except Interruption:
        keras.utils.set_random_seed(99)
    resumed = recipes.born_again(build, made, directory=broken, **arguments)
    for got, wanted in zip(weights(resumed), weights(whole), strict=True):
        assert_same(got, wanted)
    assert [s.history for s in resumed] == [s.history for s in whole]
    if name == "own":
        assert_same(Draws.seen[0], remembered[0])
        assert Draws.seen[1] == remembered[1]
        assert isinstance(Draws.seen[1]["last"], tuple)


def test_metrics_of_each_class(tmp_path):
    """A history with arrays in it must not end the run after its first epoch."""

    def with_f1(model):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=[keras.metrics.F1Score()])

    x, y = data()
    made = training(x=x, y=np.eye(4)[y], compile=with_f1, epochs=1)
    stages = recipes.born_again(build, made, directory=tmp_path, generations=1)
    assert np.shape(stages[0].history["f1_score"]) == (1, 4)


def test_class_weights_reach_the_training(tmp_path):
    """Rare classes that count as little as ever are forgotten by every stage."""
    made = training(epochs=1, class_weight={0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0})
    stages = recipes.born_again(
        build, made, directory=tmp_path, generations=1, verbose=0
    )
    assert stages[0].history["loss"] == [0.0]


def test_each_generation_learns_from_the_one_before(tmp_path):
    """A chain in which all learn from the first is plain distillation, repeated."""
    taught = []

    def distil(teacher, student):
        taught.append((teacher, student))
        return recipes.soft_targets(teacher, student)

    stages = recipes.born_again(
        build,
        training(epochs=1),
        directory=tmp_path,
        generations=3,
        distil=distil,
        verbose=0,
    )
    assert [stage.name for stage in stages] == [f"generation_{n}" for n in range(4)]
    taught = taught[3:]  # after those of the check
    for (given, student), before, after in zip(
        taught, stages[:-1], stages[1:], strict=True
    ):
        assert given is before.student
        assert student is after.student
    first = values_of(stages[0].student.weights)[0]
    assert not np.array_equal(first, values_of(stages[1].student.weights)[0])


def test_the_students_learn(tmp_path):
    """A recipe is worth its hours if its last student is right."""
    x, y = data(400, seed=3)
    made = quick(*data(240, seed=4), epochs=14)
    for name in ("born_again", "ensemble", "snapshots"):
        student = RECIPES[name](tmp_path / name, made)[-1].student
        predicted = student.predict(x, verbose=0).argmax(-1)
        assert (predicted == y).mean() > 0.85


def test_a_trained_teacher_is_passed_on_through_a_chain(tmp_path):
    """The last of a chain must know what only the first was told."""
    x, y = data(400, seed=3)
    expert = build(16)
    seen = data(240, seed=4)
    quick(*seen).compile(expert)
    expert.fit(*seen, epochs=8, batch_size=40, verbose=0)

    def distil(teacher, student):
        return keras_kd.Distiller(
            teacher,
            student,
            keras_kd.LogitsDistillation(2.0),
            student_loss_weight=0.0,
        )

    chain = recipes.assistant_chain(
        [lambda: build(12), lambda: build(8)],
        quick(seen[0], None),
        directory=tmp_path,
        teacher=expert,
        distil=distil,
        verbose=0,
    )
    predicted = chain[-1].student.predict(x, verbose=0).argmax(-1)
    assert (predicted == y).mean() > 0.85


def test_frozen_layers_stand_still(tmp_path):
    """A phase that moves layers it should not undoes the phase before."""
    stages = RECIPES["stage_wise"](tmp_path, training())
    keras.utils.set_random_seed(5)
    fresh = build(8, depth=2)
    for layer in fresh.layers:
        if not layer.weights:
            continue
        moved = [
            not np.array_equal(a, b)
            for a, b in zip(
                layer.get_weights(),
                stages[0].student.get_layer(layer.name).get_weights(),
                strict=True,
            )
        ]
        assert any(moved) == all(moved) == (layer.name in ("dense_0", "norm_0"))
    assert all(layer.trainable for layer in stages[0].student.layers)


class First(keras.callbacks.Callback):
    """Keeps the weights that each stage begins with."""

    seen: list

    def on_train_begin(self, logs=None):
        student = getattr(self.model, "student", self.model)
        First.seen.append(values_of(student.get_layer("dense_0").weights))


@pytest.mark.parametrize("name", ["grow", "snapshots", "stage_wise"])
def test_a_stage_starts_where_the_one_before_ended(name, tmp_path):
    """Without the old weights it is training from the beginning, twice."""
    First.seen = []
    stages = RECIPES[name](tmp_path, training(callbacks=lambda: [First()]))
    ended = values_of(stages[0].student.get_layer("dense_0").weights)
    assert_same(First.seen[1], ended)


@pytest.mark.parametrize("name", ["ensemble", "snapshots"])
def test_all_members_teach_the_student(name, tmp_path):
    """One of them alone would be a teacher like any other, at three times the cost."""
    taught = []

    def distil(teacher, student):
        taught.append(teacher)
        return recipes.soft_targets(teacher, student)

    arguments = {"directory": tmp_path, "distil": distil, "verbose": 0}
    made = training(epochs=1)
    if name == "ensemble":
        stages = recipes.ensemble([build] * 3, build, made, **arguments)
    else:
        stages = recipes.snapshots(build, made, cycles=3, **arguments)
    together = taught[-1]
    assert isinstance(together, keras_kd.teachers.Ensemble)
    assert together.temperature == 4.0
    members = [stage.student for stage in stages[:-1]]
    assert len(together.teachers) == len(members) == 3
    assert all(a is b for a, b in zip(together.teachers, members, strict=True))


def test_weights_of_more_classes():
    """A classifier that grows must keep what it knows."""
    small, large = build(8, classes=3), build(8, classes=5)
    copied = recipes.transfer_weights(small, large, grow=True)
    # The dropout has a weight, too: the state of its random numbers.
    assert {"dense_0", "norm_0", "logits"} <= set(copied)
    x, _ = data()
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(large(x))[:, :3],
        keras.ops.convert_to_numpy(small(x)),
        rtol=1e-5,
        atol=1e-6,
    )
    other = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="must have layers of the same name"):
        recipes.transfer_weights(small, other)


def test_a_wrong_first_try_can_be_put_right(tmp_path):
    """A directory in which nothing was made belongs to nobody."""
    arguments = {"directory": tmp_path, "generations": 1, "verbose": 0}
    x, y = data()
    with pytest.raises(ValueError, match="one row per example"):
        recipes.born_again(build, training(x=x, y=y[1:], epochs=1), **arguments)
    recipes.born_again(build, training(epochs=1, batch_size=8), **arguments)


def test_a_name_is_given_once(tmp_path):
    """The second stage of a name would be read from the first."""
    run = recipes.Run(tmp_path, "own", verbose=0)
    run.stage("one", build, training(epochs=1))
    with pytest.raises(ValueError, match="`name` must be new"):
        run.stage("one", build, training(epochs=1))


def test_a_layer_is_copied_as_a_whole():
    """A bias beside another layer's kernel is worth less than random numbers."""
    small = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, name="a"),
            keras.layers.Dense(3, name="b"),
        ]
    )
    large = keras.Sequential(
        [
            keras.Input((9,)),
            keras.layers.Dense(8, name="a"),
            keras.layers.Dense(3, name="b"),
        ]
    )
    before = values_of(large.get_layer("a").weights)
    large.get_layer("a").bias.assign(np.ones(8))
    before[1] = np.ones(8, "float32")
    assert recipes.transfer_weights(small, large) == ["b"]
    assert_same(values_of(large.get_layer("a").weights), before)


@keras.saving.register_keras_serializable(package="tests_recipes")
class Tokens(keras.Model):
    """A student with a weight of its own, and a frozen layer inside of a layer."""

    def __init__(self):
        super().__init__()
        self.token = self.add_weight(shape=(6,), name="token", initializer="ones")
        self.body = keras.Sequential(
            [
                keras.layers.Dense(6, name="stem", trainable=False),
                keras.layers.Dense(6, name="deep"),
            ],
            name="body",
        )
        self.head = keras.layers.Dense(4, name="head")

    def call(self, x):
        return self.head(self.body(x + self.token))


def tokens():
    model = Tokens()
    model(np.zeros((1, 6), "float32"))
    return model


def test_only_the_named_layers_train_and_flags_come_back(tmp_path):
    """Weights of the model itself, and layers that the user froze, are layers' too."""
    kept = {}

    def build_tokens():
        model = kept["model"] = tokens()
        kept["before"] = values_of(model.weights)
        return model

    (stage,) = recipes.stage_wise(
        build_tokens,
        teacher(),
        [recipes.Phase(lambda: keras_kd.LogitsDistillation(2.0), trainable=["head"])],
        training(epochs=1),
        directory=tmp_path,
        verbose=0,
    )
    student = stage.student
    head = {id(weight) for weight in student.head.weights}
    for weight, before in zip(student.weights, kept["before"], strict=True):
        moved = not np.array_equal(keras.ops.convert_to_numpy(weight), before)
        assert moved == (id(weight) in head), weight.path
    stem, deep = student.body.layers[-2:]
    assert not stem.trainable
    assert all(part.trainable for part in (student, student.body, deep))
    assert student.token.trainable
    assert len(student.trainable_weights) == 5


def test_what_is_wrong_later_shows_before_the_first_hour(tmp_path):
    """Each of these was found after stages had been trained for nothing."""
    made = training()
    arguments = {"directory": tmp_path, "verbose": 0}
    good = recipes.Phase(lambda: keras_kd.LogitsDistillation(2.0))

    def phases(**changes):
        loss = changes.pop("loss", lambda: keras_kd.LogitsDistillation(2.0))
        recipes.stage_wise(
            build, teacher(), [good, recipes.Phase(loss, **changes)], made, **arguments
        )

    with pytest.raises(ValueError, match="No layer 'dnse_0'"):
        phases(trainable=["dnse_0"])
    with pytest.raises(ValueError, match="`trainable` must name layers that have wei"):
        phases(trainable=["block_0"])
    with pytest.raises(ValueError, match="`trainable` must be None or a list"):
        phases(trainable="dense_0")
    with pytest.raises(ValueError, match="No layer 'blck_0'"):
        phases(loss=lambda: keras_kd.FeatureDistillation("mse", "blck_0", "block_0"))
    with pytest.raises(ValueError, match="`epochs` must be an integer"):
        phases(epochs=0)
    with pytest.raises(ValueError, match="`student_loss_weight` must be a number"):
        phases(student_loss_weight=2.0)

    def other():
        return keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, name="x")])

    with pytest.raises(ValueError, match="must have layers of the same name"):
        recipes.grow([build, build, other], made, **arguments)
    assert not list(tmp_path.iterdir())


def test_progress_is_shown(tmp_path, capsys):
    """Whoever waits for hours wants to know which stage it is."""
    made = training(epochs=1)
    recipes.born_again(build, made, directory=tmp_path, generations=1)
    recipes.born_again(build, made, directory=tmp_path, generations=1)
    shown = capsys.readouterr().out
    assert "generation_1: trained (" in shown
    assert "accuracy" in shown
    assert "generation_0: read from the directory" in shown


def test_malformed(tmp_path):
    """Messages come before the first hour of training, not after it."""
    made = training()
    with pytest.raises(ValueError, match="`compile` must be a function"):
        training(compile="adam")
    with pytest.raises(ValueError, match="`epochs` must be an integer"):
        training(epochs=0)
    with pytest.raises(ValueError, match=r"`seed` must be below 2\*\*31"):
        training(seed=2**31)
    for x in (None, iter([1]), [[1.0], [2.0]], {}):
        with pytest.raises(ValueError, match="`x` must be an array, a structure of"):
            training(x=x)
    with pytest.raises(ValueError, match="`build` must be a function that returns"):
        recipes.born_again("build", made, directory=tmp_path)
    with pytest.raises(ValueError, match="`callbacks` must be None or a function"):
        training(callbacks=[Stop()])
    with pytest.raises(ValueError, match="`verbose` must be 0, 1 or 2"):
        recipes.Run(tmp_path, "x", verbose=3)
    with pytest.raises(ValueError, match="`generations` must be an integer"):
        recipes.born_again(build, made, directory=tmp_path, generations=0)
    with pytest.raises(ValueError, match="`cycles` must be an integer"):
        recipes.snapshots(build, made, directory=tmp_path, cycles=1)
    with pytest.raises(ValueError, match="`builds` must be a list of at least 2"):
        recipes.ensemble([build], build, made, directory=tmp_path)
    with pytest.raises(ValueError, match="`phases` must be a list"):
        recipes.stage_wise(build, teacher(), [], made, directory=tmp_path)
    with pytest.raises(ValueError, match="`build` must return a Keras model"):
        recipes.born_again(
            lambda: keras.Sequential([keras.layers.Dense(3)]),
            made,
            directory=tmp_path / "unbuilt",
        )
