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
        # Read, not trained again.
        again = RECIPES[name](tmp_path / "whole", stopping)
        for got, wanted in zip(weights(again), weights(whole), strict=True):
            assert_same(got, wanted)
        assert [s.history for s in again] == [s.history for s in whole]
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_killed_process_leaves_a_run_that_goes_on(policy, tmp_path):
    """SIGKILL asks no handler: what is on the disk must be enough, and complete."""
    command = [sys.executable, "-m", "tests.recipes.finish", "born_again"]
    killed = [*command, str(tmp_path / "broken"), policy, "4"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    assert subprocess.run(killed, env=environment).returncode == -signal.SIGKILL
    assert (tmp_path / "broken/generation_1/progress.json").exists()
    for folder in ("broken", "whole"):
        arguments = [*command, str(tmp_path / folder), policy, "100"]
        assert subprocess.run(arguments, env=environment).returncode == 0
    keras.config.set_dtype_policy(policy)
    try:
        ends = [
            RECIPES["born_again"](tmp_path / folder, training())
            for folder in ("broken", "whole")
        ]
    finally:
        keras.config.set_dtype_policy("float32")
    for got, wanted in zip(weights(ends[0]), weights(ends[1]), strict=True):
        assert_same(got, wanted)


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
    assert [t is s.student for (t, _), s in zip(taught, stages[:3], strict=True)]
    for (given, student), before, after in zip(
        taught, stages, stages[1:], strict=False
    ):
        assert given is before.student
        assert student is after.student
    first = values_of(stages[0].student.weights)[0]
    assert not np.array_equal(first, values_of(stages[1].student.weights)[0])


def test_the_students_learn(tmp_path):
    """A recipe is worth its hours if its last student answers."""
    x, y = data(400, seed=3)
    seen = data(400, seed=4)
    made = training(x=seen[0], y=seen[1], epochs=15)
    for name in ("born_again", "ensemble", "snapshots"):
        student = RECIPES[name](tmp_path / name, made)[-1].student
        answers = student.predict(x, verbose=0).argmax(-1)
        assert (answers == y).mean() > 0.85


def test_a_trained_teacher_is_passed_on_through_a_chain(tmp_path):
    """The last of a chain must know what only the first was told."""
    x, y = data(400, seed=3)
    expert = build(16)
    compile_model(expert)
    seen = data(400, seed=4)
    expert.fit(*seen, epochs=15, verbose=0)

    def distil(teacher, student):
        return keras_kd.Distiller(
            teacher,
            student,
            keras_kd.LogitsDistillation(2.0),
            student_loss_weight=0.0,
        )

    def no_labels(model):
        model.compile(keras.optimizers.Adam(0.02))

    chain = recipes.assistant_chain(
        [lambda: build(12), lambda: build(8)],
        recipes.Training(seen[0], compile=no_labels, epochs=15, batch_size=16),
        directory=tmp_path,
        teacher=expert,
        distil=distil,
        verbose=0,
    )
    answers = chain[-1].student.predict(x, verbose=0).argmax(-1)
    assert (answers == y).mean() > 0.85


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


def test_a_grown_student_starts_where_the_small_one_ended(tmp_path):
    """Without the old weights growing is training from the beginning, twice."""
    first = {}

    def remember():
        class First(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                student = getattr(self.model, "student", self.model)
                first[len(first)] = student.get_layer("dense_0").get_weights()

        return [First()]

    stages = recipes.grow(
        [lambda: build(8, depth=1), lambda: build(8, depth=3)],
        training(callbacks=remember),
        directory=tmp_path,
        verbose=0,
    )
    assert_same(first[1], stages[0].student.get_layer("dense_0").get_weights())


def test_weights_of_more_classes():
    """A classifier that grows must keep what it knows."""
    small, large = build(8, classes=3), build(8, classes=5)
    copied = recipes.transfer_weights(small, large, grow=True)
    assert any("logits" in path for path in copied)
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


def test_another_run_in_the_directory_is_refused(tmp_path):
    """Stages of two runs mixed in one directory would be nobody's result."""
    made = training(epochs=1)
    recipes.born_again(build, made, directory=tmp_path, generations=1, verbose=0)
    with pytest.raises(ValueError, match="`directory` must be empty or hold this same"):
        recipes.born_again(build, made, directory=tmp_path, generations=2, verbose=0)
    with pytest.raises(ValueError, match="`directory` must be empty or hold this same"):
        recipes.grow([build, build], made, directory=tmp_path, verbose=0)


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
