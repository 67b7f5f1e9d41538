"""Models with several outputs: which are compared, how they are named and weighted."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    FEATURES,
    compiled,
    crossentropy,
    data,
    fit_steps,
    soft_targets,
)

X, Y = data()
COLOURS = (Y + 1) % 2
LABELS = {"digit": Y, "colour": COLOURS}
CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def two_heads(kind, width):
    """Return a model with the outputs "digit" and "colour" in a dict or a list."""
    x = keras.Input((FEATURES,))
    h = keras.layers.Dense(width, activation="tanh", name="hidden")(x)
    digit = keras.layers.Dense(3, name="digit")(h)
    colour = keras.layers.Dense(2, name="colour")(h)
    made = {"digit": digit, "colour": colour} if kind == "dict" else [digit, colour]
    return keras.Model(x, made)


def answers(model):
    """Return both outputs of a model for `X`, by name."""
    made = model(X, training=False)
    if not isinstance(made, dict):
        made = dict(zip(("digit", "colour"), made, strict=True))
    return {k: keras.ops.convert_to_numpy(v).astype("float64") for k, v in made.items()}


def parts(distiller, temperature=2.0):
    """Return the distillation loss and the task loss of each output and example."""
    t, s = answers(distiller.teacher), answers(distiller.student)
    kd = {name: soft_targets(t[name], s[name], temperature) for name in t}
    return kd, {name: crossentropy(LABELS[name], s[name]) for name in s}


def distiller_of(kind, losses, **kwargs):
    """Return a compiled Distiller of two models with two heads."""
    kwargs.setdefault("loss", {"digit": CE, "colour": CE})
    return compiled(
        keras_kd.Distiller(two_heads(kind, 7), two_heads(kind, 5), losses), **kwargs
    )


def labels(kind):
    return LABELS if kind == "dict" else [Y, COLOURS]


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_one_loss_serves_all_outputs(kind):
    """A model with two heads would need a Distiller for each of them."""
    distiller = distiller_of(kind, keras_kd.LogitsDistillation(2.0))
    kd, task = parts(distiller)
    history = fit_steps(distiller, X, labels(kind))
    expected = kd["digit"].mean() + kd["colour"].mean()
    np.testing.assert_allclose(history["logits_distillation"], [expected], rtol=1e-5)
    expected = task["digit"].mean() + task["colour"].mean()
    np.testing.assert_allclose(history["student_loss"], [expected], rtol=1e-5)


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_an_output_can_be_skipped(kind):
    """A head without a meaning for the student would be distilled all the same."""
    loss = {"digit": "kl_divergence", "colour": None}
    loss = loss if kind == "dict" else list(loss.values())
    distiller = distiller_of(kind, keras_kd.LogitsDistillation(2.0, loss=loss))
    kd, _ = parts(distiller)
    history = fit_steps(distiller, X, labels(kind))
    np.testing.assert_allclose(
        history["logits_distillation"], [kd["digit"].mean()], rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_an_output_is_selected_by_name(kind):
    """Two heads could not have temperatures of their own."""
    losses = [
        keras_kd.LogitsDistillation(2.0, output="digit", name="digit_kd"),
        keras_kd.LogitsDistillation(5.0, output="colour", name="colour_kd"),
    ]
    distiller = distiller_of(kind, losses)
    history = fit_steps(distiller, X, labels(kind))
    for name, temperature in (("digit", 2.0), ("colour", 5.0)):
        expected = parts(distiller, temperature)[0][name].mean()
        np.testing.assert_allclose(history[f"{name}_kd"], [expected], rtol=1e-5)


def test_outputs_of_different_names_form_a_pair():
    """A teacher with one output could not teach one head of the student."""
    teacher = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(3)])
    student = two_heads("list", 5)
    loss = keras_kd.LogitsDistillation(2.0, output=(None, 0))
    distiller = compiled(keras_kd.Distiller(teacher, student, loss), loss=[CE, CE])
    t = keras.ops.convert_to_numpy(teacher(X))
    expected = soft_targets(t, answers(student)["digit"], 2.0).mean()
    history = fit_steps(distiller, X, [Y, COLOURS])
    np.testing.assert_allclose(history["logits_distillation"], [expected], rtol=1e-5)


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_sample_weights_of_each_output_reach_its_distillation(kind):
    """Missing labels of one head would silence or distort the other's distillation."""
    weights = {
        "digit": np.linspace(0, 2, 8, dtype="float32"),
        "colour": np.array([1, 0] * 4, "float32"),
    }
    distiller = distiller_of(kind, keras_kd.LogitsDistillation(2.0))
    kd, task = parts(distiller)
    given = weights if kind == "dict" else list(weights.values())
    history = fit_steps(distiller, X, labels(kind), sample_weight=given)
    expected = sum(np.average(kd[name], weights=weights[name]) for name in kd)
    np.testing.assert_allclose(history["logits_distillation"], [expected], rtol=1e-5)
    expected = sum(np.mean(task[name] * weights[name]) for name in kd)
    np.testing.assert_allclose(history["student_loss"], [expected], rtol=1e-5)


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_sample_weights_of_the_selected_output_are_taken(kind):
    """A loss on one head would be weighted by the other head's weights."""
    weights = [np.ones(8, "float32"), np.arange(8, dtype="float32")]
    loss = keras_kd.LogitsDistillation(2.0, output="colour")
    distiller = distiller_of(kind, loss)
    kd, _ = parts(distiller)
    if kind == "dict":
        weights = dict(zip(("digit", "colour"), weights, strict=True))
    history = fit_steps(distiller, X, labels(kind), sample_weight=weights)
    expected = np.average(kd["colour"], weights=np.arange(8))
    np.testing.assert_allclose(history["logits_distillation"], [expected], rtol=1e-5)


def test_losses_weights_and_metrics_by_output_name():
    """`compile` would refuse names that it takes for the student itself."""
    distiller = distiller_of(
        "list",
        keras_kd.LogitsDistillation(2.0),
        loss={"digit": CE, "colour": CE},
        loss_weights={"digit": 1.0, "colour": 3.0},
        metrics={"digit": ["accuracy"], "colour": ["accuracy"]},
    )
    _, task = parts(distiller)
    history = fit_steps(distiller, X, [Y, COLOURS])
    expected = task["digit"].mean() + 3 * task["colour"].mean()
    np.testing.assert_allclose(history["student_loss"], [expected], rtol=1e-5)
    for name in ("digit", "colour"):
        right = answers(distiller.student)[name].argmax(-1) == LABELS[name]
        np.testing.assert_allclose(
            history[f"{name}_accuracy"], [right.mean()], rtol=1e-5
        )
