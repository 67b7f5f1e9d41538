"""How a step runs: once through each model, compiled or not, alone or accumulated."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    BACKEND,
    FEATURES,
    EachStep,
    assert_same,
    classifier,
    compiled,
    counted_classifier,
    data,
    distil,
    fit_steps,
    linear,
    pair,
    values_of,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
COMPILES = BACKEND != "torch"


def several_losses():
    """Return losses of which each wants something else of the two models."""
    return [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.HardLabelDistillation(),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
        keras_kd.FeatureDistillation("cosine_similarity", "logits", "logits"),
    ]


def trained(rows, batch_size, **kwargs):
    """Train a student that is the same in every call; return weights and logs."""
    keras.utils.set_random_seed(3)
    x, y = data(rows)
    losses = [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    ]
    distiller = compiled(keras_kd.Distiller(*pair(), losses), rate=0.5, **kwargs)
    history = distiller.fit(
        x, y, batch_size=batch_size, epochs=2, shuffle=False, verbose=0
    ).history
    return values_of(distiller.student.variables), history


def test_both_models_run_once_a_step_whatever_the_losses():
    """Each feature loss would cost another forward pass of both models."""
    teacher, of_teacher = counted_classifier(7)
    student, of_student = counted_classifier(5)
    distiller = distil(teacher, student, several_losses(), rate=0.1)
    x, y = data(12)
    fit = {"batch_size": 4, "verbose": 0}
    distiller.fit(x, y, **fit)
    distiller.evaluate(x, y, **fit)
    for run in ("fit", "evaluate"):
        # A new trace, which calls the layers' Python code once for each forward pass.
        distiller.make_train_function(force=True)
        distiller.make_test_function(force=True)
        of_teacher.calls = of_student.calls = 0
        getattr(distiller, run)(x, y, **fit)
        passes = 1 if COMPILES else 3
        assert (of_teacher.calls, of_student.calls) == (passes, passes), run


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX counts the operations")
def test_feature_losses_add_no_forward_pass_to_the_compiled_step():
    """The compiled program could run a model again that Python called once."""
    import jax

    def network(width):
        return keras.Sequential(
            [
                keras.Input((FEATURES,)),
                keras.layers.Dense(width, activation="relu"),
                keras.layers.Dense(width, activation="relu", name="middle"),
                keras.layers.Dense(width, activation="relu"),
                keras.layers.Dense(3),
            ]
        )

    def operations(function, *arguments):
        analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
        return analysis["flops"]

    x, y = data(64)
    teacher, student = network(64), network(64)

    def step(losses):
        distiller = distil(teacher, student, losses, rate=0.1)
        fit_steps(distiller, x, y)
        state = [
            [variable.value for variable in variables]
            for variables in (
                distiller.trainable_variables,
                distiller.non_trainable_variables,
                distiller.optimizer.variables,
                distiller.metrics_variables,
            )
        ]
        return operations(distiller.train_step, tuple(state), (x, y))

    logits = keras_kd.LogitsDistillation()
    features = keras_kd.FeatureDistillation("mse", "middle", "middle")
    forward = operations(lambda x: student(x, training=False), x)
    assert step([logits, features]) - step([logits]) < 0.2 * forward


def test_accumulated_gradients_are_one_step_on_the_double_batch():
    """The distillation would be weighted by the number of accumulated batches."""
    sgd = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2)
    halves, _ = trained(8, 4, optimizer=sgd)
    whole, _ = trained(8, 8)
    assert_same(halves, whole, **CLOSE)


def test_a_schedule_counts_the_optimizers_steps_and_not_the_batches():
    """With accumulation an annealing would run too fast."""
    x, y = data()
    teacher, student = pair()
    distiller = keras_kd.Distiller(
        teacher,
        student,
        keras_kd.LogitsDistillation(2.0),
        student_loss_weight=linear(1.0, 0.0),
    )
    compiled(
        distiller, optimizer=keras.optimizers.SGD(0.0, gradient_accumulation_steps=2)
    )
    steps = EachStep()
    x, y = np.tile(x, (4, 1)), np.tile(y, 4)
    distiller.fit(x, y, batch_size=8, shuffle=False, callbacks=[steps], verbose=0)
    task, kd = steps.values("student_loss")[0], steps.values("distillation_loss")[0]
    expected = [b * task + (1 - b) * kd for b in (1.0, 1.0, 0.75, 0.75)]
    np.testing.assert_allclose(steps.values("loss"), expected, rtol=1e-4)


MODES = {
    "run_eagerly": {"run_eagerly": True},
    "jit_compile": {"jit_compile": True},
    "no_jit_compile": {"jit_compile": False},
    "steps_per_execution": {"steps_per_execution": 3},
}


def modes():
    """List the modes that this backend has."""
    if COMPILES:
        return list(MODES)
    return ["run_eagerly"]


@pytest.fixture(scope="module")
def usual():
    """Train as `compile` does when it is asked for nothing."""
    # 14 examples in batches of 4: the last batch, and execution, is a smaller one.
    return trained(14, 4)


@pytest.mark.parametrize("mode", modes())
def test_every_mode_trains_the_same_student(mode, usual):
    """Debugging by `run_eagerly` would look at another training."""
    weights, history = usual
    other, other_history = trained(14, 4, **MODES[mode])
    assert_same(weights, other, rtol=1e-4, atol=1e-5)
    assert set(history) == set(other_history)
    for name in history:
        np.testing.assert_allclose(history[name], other_history[name], rtol=1e-4)


@pytest.mark.skipif(not COMPILES, reason="Keras refuses it on torch")
def test_a_schedule_within_one_execution_of_several_steps():
    """All steps of an execution would read the schedule at its first."""
    x, y = data()
    distiller = keras_kd.Distiller(
        *pair(),
        keras_kd.LogitsDistillation(2.0),
        student_loss_weight=linear(1.0, 0.0),
    )
    compiled(distiller, steps_per_execution=4)
    steps = EachStep()
    x, y = np.tile(x, (4, 1)), np.tile(y, 4)
    distiller.fit(x, y, batch_size=8, shuffle=False, callbacks=[steps], verbose=0)
    logs = steps.means[-1]
    task, kd = logs["student_loss"], logs["distillation_loss"]
    expected = np.mean([b * task + (1 - b) * kd for b in (1.0, 0.75, 0.5, 0.25)])
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-4)


def test_predict_runs_the_student_alone():
    """A deployed pipeline would pay for the teacher."""
    teacher, of_teacher = counted_classifier()
    student = classifier()
    distiller = distil(teacher, student)
    x, y = data(12)
    fit_steps(distiller, x, y)
    of_teacher.calls = 0
    predicted = distiller.predict(x, batch_size=5, verbose=0)
    assert of_teacher.calls == 0
    np.testing.assert_allclose(predicted, student.predict(x, verbose=0), rtol=1e-5)


def test_a_student_learns_what_the_teacher_knows():
    """The gradients could point anywhere and all sums still be right."""
    x, _ = data(64)
    losses = [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    ]
    distiller = keras_kd.Distiller(*pair(), losses)
    distiller.compile(keras.optimizers.Adam(0.05))
    history = distiller.fit(x, epochs=30, batch_size=32, verbose=0).history
    for name in ("logits_distillation", "feature_distillation"):
        assert history[name][-1] < 0.2 * history[name][0], name
