"""Several teachers, one by one: who counts, for what, and how it trains."""

import functools
import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd import losses
from keras_kd.engine.reduction import reduce_loss
from keras_kd.layers import frozen_copy
from keras_kd.ops import kept_teachers
from keras_kd.teachers import Ensemble
from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.training.helpers import (
    CLASSES,
    FEATURES,
    classifier,
    crossentropy,
    data,
    soft_targets,
)

BATCH, TEACHERS, SUBSET = 6, 3, [4, 1, 2]


def array(x):
    return ops.convert_to_numpy(x)


def tensor(x, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(x, dtype))


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape) * 2


def spec(*shape):
    return keras.KerasTensor((None, *shape))


def step_of(y=None, **context):
    y = None if y is None else ops.convert_to_tensor(y)
    return keras_kd.StepContext(y=y, **context)


LABELS = np.array([0, 1, 4, 3, 2, 4])  # of the student's five classes


# The losses, what they are given, and their value by hand in float64


def dropping(**arguments):
    loss = losses.TeacherDroppingDistillation(TEACHERS, 2.0, seed=3, **arguments)
    loss.build([spec(5)] * TEACHERS, spec(5))
    return loss


def subset(**arguments):
    loss = losses.ClassSubsetDistillation(SUBSET, 2.0, **arguments)
    loss.build(spec(3), spec(5))
    return loss


def subset_by_hand(teacher, student, own_only=False):
    values = np.zeros(len(student))
    for row, label in enumerate(LABELS[: len(student)]):
        if not own_only or label in SUBSET:
            chosen = np.array([student[row][c] for c in SUBSET])
            values[row] = soft_targets(teacher[row], chosen, 2.0)
    return values


CASES = {
    "dropping": (
        dropping,
        drawn(0, TEACHERS, BATCH, 5),
        lambda t, s: np.mean([soft_targets(one, s, 2.0) for one in t], axis=0),
    ),
    "subset": (subset, drawn(1, BATCH, 3), subset_by_hand),
    "subset_own": (
        functools.partial(subset, own_examples_only=True),
        drawn(1, BATCH, 3),
        functools.partial(subset_by_hand, own_only=True),
    ),
}
EACH = pytest.mark.parametrize(
    ("make", "teacher", "by_hand"), CASES.values(), ids=CASES
)
STUDENT = drawn(2, BATCH, 5)


def given(teacher, dtype="float32", rows=slice(None)):
    if teacher.ndim == 3:
        return [tensor(one[rows], dtype) for one in teacher]
    return tensor(teacher[rows], dtype)


def evaluation(rows=slice(None), **context):
    return step_of(LABELS[rows], training=False, **context)


@EACH
def test_value_equals_the_formula(make, teacher, by_hand):
    """Another mean or another order of classes is another method."""
    values = called(make(), given(teacher), tensor(STUDENT), evaluation())
    np.testing.assert_allclose(
        array(values), by_hand(teacher, STUDENT), rtol=2e-5, atol=1e-6
    )


@EACH
def test_gradient_equals_finite_differences(make, teacher, by_hand):
    """What trains is the gradient, and a class outside must get none."""
    scale, loss = drawn(5, BATCH), make()

    def scalar(x):
        values = called(loss, given(teacher), x, evaluation())
        return ops.sum(values * tensor(scale))

    _, gradient = value_and_gradient(scalar, STUDENT.astype("float32"))
    wanted = np.zeros_like(STUDENT)
    for index in np.ndindex(*STUDENT.shape):
        sides = []
        for sign in (1, -1):
            moved = STUDENT.copy()
            moved[index] += sign * 1e-5
            sides.append((by_hand(teacher, moved) * scale).sum())
        wanted[index] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-3)


@EACH
@pytest.mark.parametrize("how", ["sample_weight", "student_mask"])
def test_left_out_equals_not_in_the_batch(make, teacher, by_hand, how):
    """Padding rows must not count."""
    keep = np.array([1, 1, 0, 1, 1, 0])
    weight = tensor(keep, "bool" if "mask" in how else "float32")
    loss, student, step = make(), STUDENT.copy(), evaluation(**{how: weight})
    student[keep == 0] = 1e9
    values = loss.call(given(teacher), tensor(student), step)
    whole = float(array(reduce_loss(loss, values, step)))
    rows = keep > 0
    step = evaluation(rows)
    values = loss.call(given(teacher, rows=rows), tensor(student[rows]), step)
    assert whole == pytest.approx(
        float(array(reduce_loss(loss, values, step))), rel=1e-6
    )


@EACH
@pytest.mark.parametrize("training", [True, False])
def test_survives_large_float16_logits_and_a_batch_of_one(
    make, teacher, by_hand, training
):
    """One large logit in half precision must not end a training run with NaN."""
    step = step_of(LABELS[2:3], training=training)
    big = given(1e4 * np.sign(teacher), "float16", slice(2, 3))

    def scalar(x):
        return ops.sum(called(make(), big, x, step))

    value, gradient = value_and_gradient(
        scalar, (1e4 * np.sign(STUDENT[2:3])).astype("float16")
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


# Teacher dropping


def test_the_worst_teacher_is_kept_and_others_by_their_draw():
    """Dropping the worst instead would teach what is learned already."""
    values = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 4.0]])
    draws = np.array([[0.4, 0.6], [0.1, 0.4], [0.5, 0.9]])
    kept = array(kept_teachers(tensor(values), tensor(draws), drop_rate=0.5))
    assert kept.tolist() == [[0, 1], [1, 0], [1, 1]]  # of equals the first is kept


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_training_averages_over_the_kept(rate):
    """Each example must be a mean of teachers among which the worst is."""
    teacher = drawn(0, TEACHERS, 400, 5)
    student = drawn(1, 400, 5)
    each = np.array([soft_targets(one, student, 2.0) for one in teacher])
    got = array(
        called(dropping(drop_rate=rate), given(teacher), tensor(student), step_of())
    )
    kept_others = []
    for k, value in zip(each.T, got, strict=True):
        others = [i for i in range(TEACHERS) if i != int(np.argmax(k))]
        gaps = {
            chosen: abs(k[[int(np.argmax(k)), *chosen]].mean() - value)
            for count in range(TEACHERS)
            for chosen in itertools.combinations(others, count)
        }
        chosen = min(gaps, key=gaps.get)
        assert gaps[chosen] < 1e-4 * max(value, 1.0)
        kept_others.append(len(chosen))
    share = np.mean(kept_others) / (TEACHERS - 1)
    assert abs(share - (1 - rate)) < (0.06 if rate == 0.5 else 1e-9)


def test_draws_change_from_step_to_step_and_follow_the_seed():
    """Draws that stand still would drop the same teachers of a batch for ever."""
    teacher, student = given(drawn(0, TEACHERS, 50, 5)), tensor(drawn(1, 50, 5))
    one, other = dropping(), dropping()
    first, second = (array(called(one, teacher, student, step_of())) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(
        array(called(other, teacher, student, step_of())), first
    )


def ensemble_of(count=TEACHERS):
    teachers = []
    for place in range(count):
        keras.utils.set_random_seed(place)
        model = classifier(6 + place, name=f"teacher_{place}")
        model.set_weights([3.0 * w for w in model.get_weights()])
        teachers.append(model)
    return Ensemble(teachers)


def distiller_of(loss, **arguments):
    keras.utils.set_random_seed(7)
    student = classifier(8, name="student", **arguments)
    distiller = keras_kd.Distiller(ensemble_of(), student, loss)
    distiller.compile(
        keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(True)
    )
    return distiller


def test_a_resumed_run_draws_the_same(tmp_path):
    """Other draws after a restart would be another training."""
    x, y = data(32)

    def run(distiller, first, last):
        distiller.fit(
            x,
            y,
            initial_epoch=first,
            epochs=last,
            batch_size=8,
            verbose=0,
            shuffle=False,
        )

    whole = distiller_of(losses.TeacherDroppingDistillation(TEACHERS, 2.0, seed=5))
    run(whole, 0, 4)
    half = distiller_of(losses.TeacherDroppingDistillation(TEACHERS, 2.0, seed=5))
    run(half, 0, 2)
    half.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    run(again, 2, 4)
    for one, other in zip(
        whole.student.get_weights(), again.student.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def fall(loss, dtype=None):
    """Return the loss before and after a fit that learns from it alone."""
    x, y = data(32)
    distiller = distiller_of(loss, **({} if dtype is None else {"dtype": dtype}))
    distiller.student_loss_weight = 0.0
    distiller.distillation_weight = 1.0
    before = distiller.evaluate(x, y, verbose=0, return_dict=True)[loss.name]
    distiller.fit(x, y, epochs=60, batch_size=8, verbose=0)
    return before, distiller.evaluate(x, y, verbose=0, return_dict=True)[loss.name]


@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
def test_dropping_trains_through_fit(dtype):
    """The compiled step must draw, and must learn: up to what the teachers differ."""
    loss = losses.TeacherDroppingDistillation(TEACHERS, 2.0, seed=1)
    before, after = fall(loss, dtype)
    x, _ = data(32)
    p = [array(ops.softmax(t(x) / 2.0)) for t in ensemble_of().teachers]
    mean = np.log(np.mean(p, axis=0))
    least = np.mean([4.0 * (q * (np.log(q) - mean)).sum(-1).mean() for q in p])
    assert after - least < 0.5 * (before - least)


# Features, each as far as its teacher's classifier can use them


def features_loss(**arguments):
    return losses.ConfidenceWeightedFeatures(
        TEACHERS, "hidden", "hidden", "logits", **arguments
    )


def bound():
    """Return a loss on an ensemble, with the ensemble."""
    ensemble = ensemble_of()
    loss = features_loss()
    loss.bind(ensemble, classifier(8, name="student"))
    loss.build([spec(6), spec(7), spec(8)], spec(8))
    return loss, ensemble


def features_by_hand(loss, ensemble, teacher, student, labels):
    distances, wrong = [], []
    for place, model in enumerate(ensemble.teachers):
        kernel, bias = (w.astype("float64") for w in loss.layers[place].get_weights())
        r = np.asarray(student, "float64") @ kernel + bias
        distances.append(((teacher[place] - r) ** 2).mean(-1))
        kernel, bias = model.get_layer("logits").get_weights()
        wrong.append(crossentropy(labels, r @ kernel + bias))
    wrong = np.exp(np.array(wrong) - np.max(wrong, axis=0))
    weights = (1 - wrong / wrong.sum(0)) / (TEACHERS - 1)
    return (weights * distances).sum(0), weights, np.array(distances)


def feature_data():
    teacher = [drawn(place, BATCH, 6 + place) for place in range(TEACHERS)]
    return teacher, drawn(9, BATCH, 8), LABELS % CLASSES


def test_features_value_and_gradient():
    """The weights are constants: only the distances pull at the student."""
    loss, ensemble = bound()
    teacher, student, y = feature_data()
    signals = [tensor(one) for one in teacher]
    values = array(called(loss, signals, tensor(student), step_of(y)))
    wanted, weights, _ = features_by_hand(loss, ensemble, teacher, student, y)
    np.testing.assert_allclose(values, wanted, rtol=1e-4)
    np.testing.assert_allclose(weights.sum(0), 1.0)

    def scalar(x):
        return ops.sum(called(loss, signals, x, step_of(y)))

    _, gradient = value_and_gradient(scalar, student.astype("float32"))
    kernels = [layer.get_weights() for layer in loss.layers[:TEACHERS]]
    by_hand = sum(
        w[:, None] * 2 * ((student @ k + b) - t) @ k.T / t.shape[-1]
        for w, t, (k, b) in zip(weights, teacher, kernels, strict=True)
    )
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-3, atol=1e-3)


def test_features_own_frozen_copies():
    """A classifier that trained along would call any feature right."""
    loss, ensemble = bound()
    projectors, copies = loss.layers[:TEACHERS], loss.layers[TEACHERS:]
    assert [len(layer.trainable_weights) for layer in projectors] == [2] * TEACHERS
    assert [len(copy.trainable_weights) for copy in copies] == [0] * TEACHERS
    for copy, model in zip(copies, ensemble.teachers, strict=True):
        layer = model.get_layer("logits")
        assert copy is not layer
        for one, other in zip(copy.get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_features_leave_out_what_has_no_weight():
    """Padding rows must not count."""
    loss, _ = bound()
    teacher, student, y = feature_data()
    keep = np.array([1, 0, 1, 1, 0, 1])
    step = step_of(y, sample_weight=tensor(keep))
    values = loss.call([tensor(t) for t in teacher], tensor(student), step)
    rows, rest = keep > 0, step_of(y[keep > 0])
    part = loss.call([tensor(t[rows]) for t in teacher], tensor(student[rows]), rest)
    assert float(array(reduce_loss(loss, values, step))) == pytest.approx(
        float(array(reduce_loss(loss, part, rest))), rel=1e-6
    )


def test_features_survive_float16():
    """One large feature in half precision must not end a training run with NaN."""
    loss, _ = bound()
    teacher, student, y = feature_data()
    big = [tensor(1e4 * np.sign(t[:1]), "float16") for t in teacher]

    def scalar(x):
        return ops.sum(called(loss, big, x, step_of(y[:1])))

    value, gradient = value_and_gradient(
        scalar, (1e4 * np.sign(student[:1])).astype("float16")
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
def test_features_train_through_fit(dtype):
    """Projectors must learn and copies stay, in the compiled step."""
    before, after = fall(features_loss(), dtype)
    assert after < 0.5 * before


def test_features_of_images_meet_at_the_smaller_size():
    """Maps before the pooling are what the authors compare."""

    def model(size, channels):
        inputs = keras.Input((8, 8, 1))
        x = layers.Conv2D(channels, 3, strides=size, padding="same", name="map")(inputs)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x))

    teacher, student = Ensemble([model(2, 3), model(4, 5)]), model(2, 4)
    loss = losses.ConfidenceWeightedFeatures(2, ["map", "map"], "map", "logits")
    distiller = keras_kd.Distiller(teacher, student, loss, student_loss_weight=0.01)
    distiller.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True)
    )
    x = np.random.default_rng(0).normal(size=(12, 8, 8, 1)).astype("float32")
    y = LABELS.repeat(2) % CLASSES
    log = distiller.fit(x, y, epochs=40, verbose=0).history[loss.name]
    assert log[-1] < 0.6 * log[0]


def test_features_go_on_after_loading(tmp_path):
    """A file without projectors or classifiers would begin them anew."""
    x, y = data(32)
    distiller = distiller_of(features_loss())
    distiller.fit(x, y, epochs=2, batch_size=8, verbose=0, shuffle=False)
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    for one in (distiller, again):
        one.fit(x, y, initial_epoch=2, epochs=4, batch_size=8, verbose=0, shuffle=False)
    for one, other in zip(distiller.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# Some of the classes


def test_own_examples_alone_make_the_mean():
    """Counted as zeros, examples of other classes would weaken each teacher."""
    loss, step = subset(own_examples_only=True), evaluation()
    teacher = CASES["subset"][1]
    values = loss.call(tensor(teacher), tensor(STUDENT), step)
    mean = float(array(reduce_loss(loss, values, step)))
    by_hand = subset_by_hand(teacher, STUDENT)[np.isin(LABELS, SUBSET)].mean()
    assert mean == pytest.approx(by_hand, rel=1e-5)


def test_a_batch_without_own_examples_gives_nothing():
    """An average over nothing must not be NaN."""
    loss = subset(own_examples_only=True)
    step = step_of(np.array([0, 3]))
    values = loss.call(tensor(drawn(0, 2, 3)), tensor(drawn(1, 2, 5)), step)
    assert float(array(reduce_loss(loss, values, step))) == 0.0


def test_own_tokens_and_masks_go_together():
    """A masked token is left out whether the teacher knows its class or not."""
    y = np.array([[4, 0, 1], [2, 2, 3]])
    mask = np.array([[1, 1, 0], [1, 0, 1]], "bool")
    teacher, student = drawn(0, 2, 3, 3), drawn(1, 2, 3, 5)
    loss = losses.ClassSubsetDistillation(SUBSET, 2.0, own_examples_only=True)
    loss.build(spec(3, 3), spec(3, 5))
    step = step_of(y, teacher_mask=tensor(mask, "bool"))
    values = loss.call(tensor(teacher), tensor(student), step)
    counts = np.isin(y, SUBSET) & mask
    wanted = soft_targets(teacher, student[..., SUBSET], 2.0)[counts].mean()
    assert float(array(reduce_loss(loss, values, step))) == pytest.approx(
        wanted, rel=1e-5
    )


def test_learning_without_forgetting():
    """The old classes must stay while the student learns new ones."""
    x, _ = data(64)
    old = classifier(8, name="old")
    old.set_weights([3.0 * w for w in old.get_weights()])
    inputs = keras.Input((FEATURES,))
    hidden = layers.Dense(8, activation="tanh", name="hidden")(inputs)
    new = keras.Model(inputs, layers.Dense(CLASSES + 2, name="logits")(hidden))
    loss = losses.ClassSubsetDistillation(range(CLASSES), 2.0)
    distiller = keras_kd.Distiller(old, new, loss)
    distiller.compile(
        keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(True)
    )
    y = np.full(64, CLASSES)  # only examples of a new class
    log = distiller.fit(x, y, epochs=60, batch_size=16, verbose=0).history[loss.name]
    assert log[-1] < 0.3 * log[0]
    assert (array(new(x)).argmax(-1) == CLASSES).mean() > 0.9


# Errors


def wrong_shapes(*shapes, classes=SUBSET):
    losses.ClassSubsetDistillation(classes).build(*(spec(*shape) for shape in shapes))


def unfit_classifier():
    layer = layers.Dense(3)
    layer.build((None, 4))
    frozen_copy(layer, 5, name="copy")


def sequence_classifier():
    layer = layers.Reshape((2, 2))
    layer.build((None, 4))
    frozen_copy(layer, 4, name="copy")


WRONG = {
    "`num_teachers` must be an integer": lambda: losses.TeacherDroppingDistillation(1),
    "`drop_rate` must be a number": lambda: losses.TeacherDroppingDistillation(
        2, drop_rate=1.5
    ),
    "TeacherDroppingDistillation needs an ensemble of 2": lambda: keras_kd.Distiller(
        classifier(), classifier(), losses.TeacherDroppingDistillation(2)
    ),
    "`classes` must be a list of at least two": lambda: losses.ClassSubsetDistillation(
        [1, 1]
    ),
    "`classes` must name one class .* for a teacher's output": lambda: wrong_shapes(
        (4,), (5,)
    ),
    "`classes` must be classes of the student.*class 4.*0 to 2": lambda: wrong_shapes(
        (3,), (3,)
    ),
    "compares outputs of one rank": lambda: wrong_shapes((7, 3), (5,)),
    "one shape after the batch": lambda: wrong_shapes((7, 3), (6, 5)),
    "ClassSubsetDistillation needs labels": lambda: called(
        subset(own_examples_only=True),
        tensor(drawn(0, 2, 3)),
        tensor(drawn(1, 2, 5)),
        step_of(),
    ),
    "`teacher_layer_name` must be the path": lambda: losses.ConfidenceWeightedFeatures(
        3, ["a", "b"], "a", "logits"
    ),
    "`classifier_layer_name` must be the path": lambda: (
        losses.ConfidenceWeightedFeatures(3, "a", "a", None)
    ),
    "`student_layer_name` must name a layer": lambda: losses.ConfidenceWeightedFeatures(
        3, "a", None, "logits"
    ),
    "No layer 'teachers.0./nowhere'": lambda: keras_kd.Distiller(
        ensemble_of(),
        classifier(),
        losses.ConfidenceWeightedFeatures(3, "hidden", "hidden", "nowhere"),
    ),
    "classifier must be a layer .*5 channels": unfit_classifier,
    "classifier must be a layer .*which gives": sequence_classifier,
    "ConfidenceWeightedFeatures compares features of one rank": lambda: (
        features_loss().validate_outputs([spec(4, 6)], spec(6))
    ),
}


@pytest.mark.parametrize(("message", "make"), WRONG.items())
def test_wrong_arguments_are_named(message, make):
    """Before any training, and by the name of the argument."""
    with pytest.raises(ValueError, match=message):
        make()
