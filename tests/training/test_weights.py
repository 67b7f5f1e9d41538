"""Sample weights, class weights and Keras masks, in every distillation term."""

import keras
import numpy as np
import pytest

import keras_kd
from tests.training.helpers import (
    CLASSES,
    assert_same,
    compiled,
    copy_of,
    crossentropy,
    data,
    distil,
    fit_steps,
    outputs,
    pair,
    soft_targets,
    values_of,
)

X, Y = data()
VOCABULARY = 11
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def both_losses(layer="hidden"):
    """Return a loss on the logits and one on a tapped layer, with a projector."""
    return [
        keras_kd.LogitsDistillation(2.0),
        keras_kd.FeatureDistillation("mse", layer, layer),
    ]


def tagger(width):
    """Return a model of tokens whose embedding masks the zeros: (B, L) to (B, L, V)."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(
                VOCABULARY,
                width,
                # Close to one another, the answers would leave only rounding errors.
                embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
                mask_zero=True,
            ),
            keras.layers.Dense(width, activation="tanh", name="hidden"),
            keras.layers.Dense(CLASSES, name="logits"),
        ]
    )


def tokens(length=4, padding=0):
    """Return token ids and their labels, with zeros appended."""
    random = np.random.default_rng(1)
    ids = random.integers(1, VOCABULARY, size=(6, length)).astype("int32")
    labels = random.integers(0, CLASSES, size=ids.shape).astype("int32")
    pad = ((0, 0), (0, padding))
    return np.pad(ids, pad), np.pad(labels, pad)


def trained(teacher, student, x, y, sample_weight=None, losses=None):
    """Train a copy of the student for one step; return its weights and the logs."""
    student = copy_of(student)
    # Projectors start alike, whatever was drawn before.
    keras.utils.set_random_seed(7)
    losses = both_losses() if losses is None else losses
    distiller = distil(teacher, student, losses, rate=0.1, student_loss_weight=0.0)
    history = fit_steps(distiller, x, y, sample_weight=sample_weight)
    return values_of(student.variables), history


def test_sample_weights_reach_every_term():
    """A distillation term without them would learn from examples ruled out."""
    teacher, student = pair()
    weight = np.linspace(0.0, 3.0, len(X)).astype("float32")
    t, s = outputs(teacher, X), outputs(student, X)
    distiller = distil(teacher, student)
    history = fit_steps(distiller, X, Y, sample_weight=weight)
    task = np.mean(weight * crossentropy(Y, s))
    kd = np.average(soft_targets(t, s, 2.0), weights=weight)
    np.testing.assert_allclose(history["student_loss"], [task], rtol=1e-5)
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-5)
    np.testing.assert_allclose(history["loss"], [0.5 * task + 0.5 * kd], rtol=1e-5)


def test_a_weight_of_two_is_the_example_twice():
    """Weights for an unbalanced data set would mean something else than repetition."""
    teacher, student = pair()
    times = np.array([2, 1, 1, 3, 1, 1, 2, 1])
    weighted, one = trained(teacher, student, X, Y, times.astype("float32"))
    repeated, other = trained(teacher, student, X.repeat(times, 0), Y.repeat(times))
    assert_same(weighted, repeated, **CLOSE)
    for name in ("logits_distillation", "feature_distillation"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


def test_a_weight_of_zero_is_the_example_left_out():
    """Examples ruled out would go on pulling at the student through the teacher."""
    teacher, student = pair()
    x, weight = np.concatenate([X, X[:2]]), np.ones(10, "float32")
    weight[8:] = 0.0
    y = np.concatenate([Y, Y[:2]])
    zeroed, _ = trained(teacher, student, x, y, weight)
    sliced, _ = trained(teacher, student, X, Y)
    assert_same(zeroed, sliced, **CLOSE)


def test_scaling_all_weights_changes_no_distillation_term():
    """Weights in another unit would change the balance of task and distillation."""
    teacher, student = pair()
    weight = np.linspace(0.5, 3.0, len(X)).astype("float32")
    one, _ = trained(teacher, student, X, Y, weight)
    other, _ = trained(teacher, student, X, Y, 100 * weight)
    assert_same(one, other, **CLOSE)


def test_weights_without_labels_reach_every_term():
    """Keras drops the weights where there are no labels: other numbers, unseen."""
    weights = np.linspace(0, 2, len(X))
    teacher, student = pair()
    distiller = distil(teacher, student)
    values = soft_targets(outputs(teacher, X), outputs(student, X), 2.0)
    wanted = float((weights * values).sum() / weights.sum())
    logs = fit_steps(
        distiller,
        X,
        sample_weight=weights,
        shuffle=False,
        validation_data=(X, None, weights[::-1]),
    )
    assert logs["logits_distillation"][0] == pytest.approx(wanted, rel=1e-5)
    other = float((weights[::-1] * values).sum() / weights.sum())
    assert logs["val_logits_distillation"][0] == pytest.approx(other, rel=1e-5)
    results = [
        distiller.evaluate(X, sample_weight=weights, verbose=0, return_dict=True),
        distiller.evaluate(X, None, 3, 0, weights, return_dict=True),
        fit_last(distiller, validation_split=0.5, sample_weight=weights),
        distiller.train_on_batch(X, sample_weight=weights, return_dict=True),
    ]
    half = slice(len(X) // 2)
    first = float((weights * values)[half].sum() / weights[half].sum())
    for place, result in enumerate(results):
        expected = first if place == 2 else wanted
        # Batches of 3 average the terms by their sizes, and not by their weights.
        rel = 0.5 if place == 1 else 1e-5
        assert result["logits_distillation"] == pytest.approx(expected, rel=rel)


def fit_last(distiller, **kwargs):
    history = fit_steps(distiller, X, shuffle=False, **kwargs)
    return {key: values[-1] for key, values in history.items()}


def test_weights_that_are_all_zero_give_zero():
    """A batch of padding alone would turn the student into NaN."""
    teacher, student = pair()
    before = values_of(student.variables)
    after, history = trained(teacher, student, X, Y, np.zeros(8, "float32"))
    assert_same(before, after)
    for name in ("loss", "distillation_loss", "feature_distillation", "student_loss"):
        assert history[name] == [0.0], name


def test_class_weights_reach_every_term():
    """`fit(class_weight=...)` would balance the task and not the distillation."""
    teacher, student = pair()
    by_class = {0: 1.0, 1: 0.25, 2: 4.0}
    weight = np.array([by_class[label] for label in Y])
    t, s = outputs(teacher, X), outputs(student, X)
    history = fit_steps(distil(teacher, student), X, Y, class_weight=by_class)
    task = np.mean(weight * crossentropy(Y, s))
    kd = np.average(soft_targets(t, s, 2.0), weights=weight)
    np.testing.assert_allclose(history["student_loss"], [task], rtol=1e-5)
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-5)


def test_weights_of_tokens():
    """Token weights, as KerasHub's preprocessors make them, would be refused."""
    teacher, student = tagger(7), tagger(5)
    x, y = tokens()
    weight = np.random.default_rng(2).uniform(0, 2, x.shape).astype("float32")
    t, s = outputs(teacher, x), outputs(student, x)
    distiller = distil(teacher, student, both_losses())
    history = fit_steps(distiller, x, y, sample_weight=weight)
    kd = np.average(soft_targets(t, s, 2.0), weights=weight)
    np.testing.assert_allclose(history["logits_distillation"], [kd], rtol=1e-5)


def test_weights_of_examples_hold_for_all_their_tokens():
    """One weight per text would be refused, or spread over the wrong axis."""
    teacher, student = tagger(7), tagger(5)
    x, y = tokens()
    weight = np.arange(6, dtype="float32")
    # Keras's own losses refuse such weights where the outputs are masked.
    history = fit_steps(
        compiled(keras_kd.Distiller(teacher, student, both_losses()), loss=None),
        x,
        y,
        sample_weight=weight,
    )
    kd = soft_targets(outputs(teacher, x), outputs(student, x), 2.0)
    expected = np.average(kd, weights=np.tile(weight[:, None], (1, 4)))
    np.testing.assert_allclose(history["logits_distillation"], [expected], rtol=1e-5)


def test_a_keras_mask_is_a_slice():
    """The student would learn the teacher's answers to padding."""
    teacher, student = tagger(7), tagger(5)
    padded, one = trained(teacher, student, *tokens(padding=3))
    unpadded, other = trained(teacher, student, *tokens())
    assert_same(padded, unpadded, **CLOSE)
    for name in ("logits_distillation", "feature_distillation"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


def test_texts_of_different_length_count_by_their_tokens():
    """Each text's padding would take a share of the average."""
    teacher, student = tagger(7), tagger(5)
    x, y = tokens()
    x[0, 1:], x[3, 2:] = 0, 0
    valid = x != 0
    t, s = outputs(teacher, x), outputs(student, x)
    distiller = distil(teacher, student)
    history = fit_steps(distiller, x, y)
    kd = soft_targets(t, s, 2.0)[valid].mean()
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-5)
    kd = distiller.evaluate(x, y, verbose=0, return_dict=True)["distillation_loss"]
    expected = soft_targets(t, s, 2.0)[valid].mean()
    np.testing.assert_allclose(kd, expected, rtol=1e-5)


def test_masks_and_sample_weights_multiply():
    """Weights would bring the padding back."""
    teacher, student = tagger(7), tagger(5)
    x, y = tokens(padding=2)
    weight = np.random.default_rng(2).uniform(0.5, 2, x.shape).astype("float32")
    t, s = outputs(teacher, x), outputs(student, x)
    history = fit_steps(distil(teacher, student), x, y, sample_weight=weight)
    kd = np.average(soft_targets(t, s, 2.0), weights=weight * (x != 0))
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-5)


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_the_mask_of_either_side_suffices(side):
    """A teacher without masking would be followed into the padding."""
    masked, plain = tagger(5), tagger(5)
    plain.layers[0].mask_zero = False
    plain.layers[0].supports_masking = False
    teacher, student = (masked, plain) if side == "teacher" else (plain, masked)
    x, y = tokens(padding=2)
    t, s = outputs(teacher, x), outputs(student, x)
    history = fit_steps(distil(teacher, student), x, y)
    kd = soft_targets(t, s, 2.0)[x != 0].mean()
    np.testing.assert_allclose(history["distillation_loss"], [kd], rtol=1e-5)


def test_task_losses_keep_the_reduction_that_was_compiled():
    """A `sum` that the user asked for would become a mean."""
    teacher, student = pair()
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction="sum")
    weight = np.linspace(0.0, 3.0, len(X)).astype("float32")
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation())
    compiled(distiller, loss=loss)
    history = fit_steps(distiller, X, Y, sample_weight=weight)
    task = np.sum(weight * crossentropy(Y, outputs(student, X)))
    np.testing.assert_allclose(history["student_loss"], [task], rtol=1e-5)
