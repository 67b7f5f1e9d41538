"""Weights and temperatures that follow a schedule, or that someone assigns."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    BACKEND,
    CROSSENTROPY,
    EachStep,
    compiled,
    counted_classifier,
    crossentropy,
    data,
    distil,
    fit_steps,
    linear,
    outputs,
    pair,
    soft_targets,
)

WEIGHTS = [
    "student_loss_weight",
    "distillation_weight",
    "distillation_loss_weights[0]",
    "distillation_loss_weights[1]",
]
X, Y = data()


class Case:
    """A Distiller with two losses at learning rate 0, and its parts by hand."""

    def __init__(self, temperature=2.0, **changes):
        self.teacher, self.student = pair()
        self.weights = dict(zip(WEIGHTS, (0.4, 0.7, 1.5, 0.25), strict=True))
        self.weights.update(changes)
        self.logits = keras_kd.LogitsDistillation(temperature)
        self.distiller = compiled(
            keras_kd.Distiller(
                self.teacher,
                self.student,
                [self.logits, keras_kd.FeatureDistillation("mse")],
                [self.weights[key] for key in WEIGHTS[2:]],
                self.weights["student_loss_weight"],
                distillation_weight=self.weights["distillation_weight"],
            )
        )

    def total(self, temperature=2.0, **changes):
        """Return the total loss with some of the weights changed."""
        b, w, w0, w1 = ({**self.weights, **changes}[key] for key in WEIGHTS)
        t, s = outputs(self.teacher, X), outputs(self.student, X)
        task = crossentropy(Y, s).mean()
        first = soft_targets(t, s, temperature).mean()
        second = np.mean((t - s) ** 2)
        return b * task + w * (w0 * first + w1 * second)


def assign(distiller, name, value):
    """Assign to the attribute or list item called `name`."""
    if name.endswith("]"):
        distiller.distillation_loss_weights[int(name[-2])] = value
    else:
        setattr(distiller, name, value)


def test_every_weight_follows_its_schedule():
    """A warm-up or an annealed weight would stay at its first value."""
    ends = dict(
        zip(WEIGHTS, ((0.9, 0.1), (0.2, 1.4), (2.0, 0.0), (0.0, 3.0)), strict=True)
    )
    case = Case(**{name: linear(*pair) for name, pair in ends.items()})
    history = fit_steps(case.distiller, X, Y, steps=4)
    for step in range(4):
        now = {k: old + (new - old) * step / 4 for k, (old, new) in ends.items()}
        expected = case.total(**now)
        np.testing.assert_allclose(history["total_loss"][step], expected, rtol=1e-5)
        np.testing.assert_allclose(history["loss"][step], expected, rtol=1e-5)


def test_a_temperature_follows_its_schedule():
    """An annealed temperature would stay at its first value."""
    case = Case(temperature=linear(5.0, 1.0))
    history = fit_steps(case.distiller, X, Y, steps=4)
    expected = [case.total(temperature=value) for value in (5.0, 4.0, 3.0, 2.0)]
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)


def test_a_schedule_goes_on_where_the_last_fit_stopped():
    """Each call of fit would start the annealing again."""
    case = Case(student_loss_weight=linear(0.9, 0.1))
    history = [fit_steps(case.distiller, X, Y, steps=2)["loss"] for _ in range(2)]
    expected = [case.total(student_loss_weight=value) for value in (0.9, 0.7, 0.5, 0.3)]
    np.testing.assert_allclose(np.ravel(history), expected, rtol=1e-5)


def test_evaluation_reads_the_schedule_at_the_present_step():
    """The validation loss would be that of another moment of the schedule."""
    case = Case(student_loss_weight=linear(0.9, 0.1), temperature=linear(5.0, 1.0))
    fit_steps(case.distiller, X, Y, steps=2)
    for _ in range(2):
        found = case.distiller.evaluate(X, Y, verbose=0, return_dict=True)["loss"]
        expected = case.total(temperature=3.0, student_loss_weight=0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    history = fit_steps(case.distiller, X, Y, validation_data=(X, Y))
    expected = case.total(temperature=2.0, student_loss_weight=0.3)
    np.testing.assert_allclose(history["val_loss"], [expected], rtol=1e-5)


def test_a_schedule_counts_the_steps_under_loss_scaling():
    """The loss-scaling optimiser wraps the one that counts: the step would stay 0."""
    teacher, _ = pair()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        _, student = pair()
        distiller = distil(teacher, student, student_loss_weight=linear(1.0, 0.0))
    finally:
        keras.config.set_dtype_policy("float32")
    history = fit_steps(distiller, X, Y, steps=4)
    task, kd = history["student_loss"], history["distillation_loss"]
    weights = [(1 - k / 4, k / 4) for k in range(4)]
    expected = [b * t + w * d for (b, w), t, d in zip(weights, task, kd, strict=True)]
    np.testing.assert_allclose(history["total_loss"], expected, rtol=1e-4)


def test_an_assigned_weight_takes_effect():
    """The compiled step would go on with the number that it was traced with."""
    case = Case()
    changes = {}
    np.testing.assert_allclose(
        fit_steps(case.distiller, X, Y)["loss"], [case.total()], rtol=1e-5
    )
    for name in WEIGHTS:
        assign(case.distiller, name, 0.05)
        changes[name] = 0.05
        expected = case.total(**changes)
        trained = fit_steps(case.distiller, X, Y)["loss"]
        evaluated = case.distiller.evaluate(X, Y, verbose=0, return_dict=True)
        np.testing.assert_allclose(trained, [expected], rtol=1e-5)
        np.testing.assert_allclose(evaluated["loss"], expected, rtol=1e-5)


def test_an_assigned_list_of_weights_takes_effect():
    """The compiled step would go on with the old list."""
    case = Case()
    fit_steps(case.distiller, X, Y)
    case.distiller.distillation_loss_weights = [0.5, 3.0]
    after = fit_steps(case.distiller, X, Y)["loss"]
    expected = case.total(**dict(zip(WEIGHTS[2:], (0.5, 3.0), strict=True)))
    np.testing.assert_allclose(after, [expected], rtol=1e-5)


def test_an_assignment_in_the_middle_of_an_epoch_takes_effect():
    """A callback that touches the loss and not its model would act an epoch late."""
    case = Case()
    changes, expected = {}, [case.total()]
    actions = []
    for name in WEIGHTS:
        actions.append(lambda name=name: assign(case.distiller, name, 0.3))
        changes[name] = 0.3
        expected.append(case.total(**changes))
    actions.append(lambda: setattr(case.logits, "temperature", 4.0))
    expected.append(case.total(temperature=4.0, **changes))
    # A schedule in the place of a number needs a new trace; this step is the sixth.
    actions.append(lambda: assign(case.distiller, WEIGHTS[0], linear(0.0, 1.0, 8)))
    changes[WEIGHTS[0]] = 6 / 8
    expected.append(case.total(temperature=4.0, **changes))
    steps = EachStep(actions)
    count = len(expected)
    x, y = np.tile(X, (count, 1)), np.tile(Y, count)
    in_order = {"batch_size": len(X), "shuffle": False}
    case.distiller.fit(x, y, **in_order, callbacks=[steps], verbose=0)
    np.testing.assert_allclose(steps.values("loss"), expected, rtol=1e-4)


def test_from_number_to_schedule_and_back():
    """The compiled step would keep the kind that it was traced with."""
    case = Case()
    found = [fit_steps(case.distiller, X, Y)["loss"]]
    case.logits.temperature = linear(5.0, 1.0)
    case.distiller.student_loss_weight = linear(1.0, 0.0)
    found.append(fit_steps(case.distiller, X, Y)["loss"])  # the second step
    case.logits.temperature = 3.0
    case.distiller.student_loss_weight = 0.3
    found.append(fit_steps(case.distiller, X, Y)["loss"])
    expected = [
        case.total(),
        case.total(temperature=4.0, student_loss_weight=0.75),
        case.total(temperature=3.0, student_loss_weight=0.3),
    ]
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-5)


def test_the_distillation_weight_may_follow_the_student_weight_again():
    """Once given, the second weight could not be tied to the first any more."""
    case = Case()
    fit_steps(case.distiller, X, Y)
    case.distiller.distillation_weight = None
    case.distiller.student_loss_weight = 0.2
    after = fit_steps(case.distiller, X, Y)["loss"]
    expected = case.total(student_loss_weight=0.2, distillation_weight=0.8)
    np.testing.assert_allclose(after, [expected], rtol=1e-5)


def test_one_loss_object_of_two_distillers_reaches_both():
    """Sharing a loss would leave one of the two with the old temperature."""
    teacher, student = pair()
    loss = keras_kd.LogitsDistillation(2.0)
    both = [distil(teacher, student, loss, student_loss_weight=0.0) for _ in range(2)]
    for distiller in both:
        fit_steps(distiller, X, Y)
    loss.temperature = 5.0
    expected = soft_targets(outputs(teacher, X), outputs(student, X), 5.0).mean()
    for distiller in both:
        found = fit_steps(distiller, X, Y)["loss"]
        np.testing.assert_allclose(found, [expected], rtol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="torch compiles no step")
def test_assigning_numbers_does_not_compile_again():
    """A weight set in every step by a callback would recompile in every step."""
    teacher, _ = pair()
    student, counter = counted_classifier()
    distiller = distil(teacher, student)
    fit_steps(distiller, X, Y, steps=2)
    counter.calls = 0
    for number in (0.1, 0.2, 0.3):
        distiller.student_loss_weight = number
        distiller.distillation_losses[0].temperature = 10 * number
        distiller.distillation_loss_weights[0] = number
        fit_steps(distiller, X, Y)
    assert counter.calls == 0


def test_a_bad_assignment_is_refused_and_changes_nothing():
    """A typing error in a callback would silently train with a negative weight."""
    case = Case()
    fit_steps(case.distiller, X, Y)
    for name in WEIGHTS:
        with pytest.raises(ValueError, match="at least 0"):
            assign(case.distiller, name, -1.0)
    with pytest.raises(ValueError, match="greater than 0"):
        case.logits.temperature = 0.0
    with pytest.raises(ValueError, match="one weight per loss"):
        case.distiller.distillation_loss_weights = [1.0]
    after = fit_steps(case.distiller, X, Y)["loss"]
    np.testing.assert_allclose(after, [case.total()], rtol=1e-5)


def test_another_schedule_takes_the_place_of_one():
    """Traced into the step, the old schedule would be followed to the end."""
    made = keras.optimizers.schedules.PiecewiseConstantDecay
    x, y = data()
    loss = keras_kd.LogitsDistillation(made([1000], [2.0, 1.0]))
    distiller = keras_kd.Distiller(*pair(), loss)
    distiller.compile("sgd", CROSSENTROPY)
    distiller.evaluate(x, y, verbose=0)
    loss.temperature = made([1000], [8.0, 1.0])
    seen = distiller.evaluate(x, y, verbose=0, return_dict=True)
    loss.temperature = 8.0
    wanted = distiller.evaluate(x, y, verbose=0, return_dict=True)
    key = "distillation_loss"
    assert seen[key] == pytest.approx(wanted[key], rel=1e-6)


def test_a_schedule_that_begins_outside_of_the_bounds():
    """A weight of 3 for the task would be one of -2 for the teacher."""
    decay = keras.optimizers.schedules.PolynomialDecay(3.0, 10, 0.0)
    with pytest.raises(ValueError, match=r"`student_loss_weight\(0\)` must be"):
        keras_kd.Distiller(
            *pair(), keras_kd.LogitsDistillation(), student_loss_weight=decay
        )
