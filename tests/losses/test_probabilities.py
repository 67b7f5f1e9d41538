"""Logits where probabilities are wanted, and probabilities where logits are."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import losses
from keras_kd.losses.logits.soft_targets import _log_odds
from tests.losses.references import binary_kl, kl, softmax
from tests.training.helpers import classifier, data, distil

CLASSES = 3


def drawn(seed, shape=(8, CLASSES)):
    return np.random.default_rng(seed).normal(0, 3, shape).astype("float32")


def sigmoid(x):
    return (1.0 / (1.0 + np.exp(-x))).astype("float32")


LOGITS, PROBABILITIES = drawn(0), softmax(drawn(1)).astype("float32")
BINARY = keras_kd.Divergence("binary_kl_divergence")


def given_probabilities(loss="kl_divergence"):
    return losses.LogitsDistillation(1.0, loss, from_logits=False)


def data_free(teacher, student):
    loss = losses.DataFreeDistillation()
    loss.check(None, {"teacher": teacher, "student": student})


# What is refused: the message, and the check of a first batch.
REFUSED = {
    "both_sides": (
        "from_logits=False.*outputs of the teacher with values from -",
        lambda: given_probabilities().check(LOGITS, LOGITS),
    ),
    "teacher_only": (
        "from_logits=False.*outputs of the teacher.*activation of the other",
        lambda: given_probabilities().check(LOGITS, PROBABILITIES),
    ),
    "student_only": (
        "from_logits=False.*outputs of the student.*activation of the other",
        lambda: given_probabilities().check(PROBABILITIES, LOGITS),
    ),
    "rows_of_another_sum": (
        "outputs of the student with rows that sum to",
        lambda: given_probabilities().check(PROBABILITIES, sigmoid(LOGITS)),
    ),
    "above_one": (
        "outputs of the teacher with values from 0",
        lambda: given_probabilities().check(np.abs(LOGITS), PROBABILITIES),
    ),
    "binary": (
        "outputs of the student with values from -",
        lambda: given_probabilities(BINARY).check(sigmoid(LOGITS), LOGITS),
    ),
    "hard_labels": (
        "HardLabelDistillation needs logits.*outputs of the student.*softmax",
        lambda: losses.HardLabelDistillation().check(LOGITS, PROBABILITIES),
    ),
    "curriculum_of_sigmoids": (
        "CurriculumTemperature needs logits.*outputs of the teacher.*sigmoid",
        lambda: losses.CurriculumTemperature(0.5, BINARY).check(
            sigmoid(LOGITS), LOGITS
        ),
    ),
    "features": (
        "FeatureDistillation with Divergence.*needs logits.*student.*softmax",
        lambda: losses.FeatureDistillation("kl_divergence").check(
            LOGITS, PROBABILITIES
        ),
    ),
    "data_free_teacher": (
        "DataFreeDistillation needs logits.*outputs of the teacher",
        lambda: data_free(PROBABILITIES, LOGITS),
    ),
    "data_free_student": (
        "DataFreeDistillation needs logits.*outputs of the student",
        lambda: data_free(LOGITS, PROBABILITIES),
    ),
    "attention_before_its_softmax": (
        "AttentionDistillation needs probabilities.*outputs of the student.*softmax",
        lambda: losses.AttentionDistillation(["a"], ["a"]).check(
            [PROBABILITIES], [LOGITS]
        ),
    ),
    "keras_loss_on_probabilities": (
        "binary_crossentropy.*needs probabilities.*use `loss='binary_kl_divergence'`",
        lambda: losses.LogitsDistillation(1.0, "binary_crossentropy").check(
            LOGITS, LOGITS
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_first_batch_is_refused(name):
    """Softmax of probabilities, or the logarithm of logits, looks like any number."""
    message, check = REFUSED[name]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        check()


def test_raw_logits_are_refused_in_fit():
    """It trained on losses of 45 to 127 without a word."""
    x, y = data()
    distiller = distil(classifier(7), classifier(), given_probabilities())
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    with pytest.raises(ValueError, match="from_logits=False.*needs probabilities"):
        distiller.fit(x, y, verbose=0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_probabilities_pass_and_their_logarithms_are_the_logits(dtype):
    """A check that refused rounded probabilities would stop a run that is right."""
    p = softmax(drawn(2, (8, 200)) / 3)
    q = softmax(drawn(3, (8, 200)) / 3)
    teacher, student = (ops.convert_to_tensor(x.astype("float32")) for x in (p, q))
    teacher, student = ops.cast(teacher, dtype), ops.cast(student, dtype)
    loss = given_probabilities()
    loss.check(teacher, student)
    values = ops.convert_to_numpy(loss.call(teacher, student, keras_kd.StepContext()))
    tolerance = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}[dtype]
    np.testing.assert_allclose(values, kl(np.log(p), np.log(q)), rtol=tolerance)


def test_sigmoids_are_as_good_as_their_logits():
    """A multi-label model that ends in sigmoids must teach what its logits would."""
    t, s = drawn(4, (8, 4)) / 2, drawn(5, (8, 4)) / 2
    teacher, student = (ops.convert_to_tensor(sigmoid(x)) for x in (t, s))
    loss = losses.LogitsDistillation(2.0, "binary_kl_divergence", from_logits=False)
    loss.check(teacher, student)
    values = ops.convert_to_numpy(loss.call(teacher, student, keras_kd.StepContext()))
    np.testing.assert_allclose(values, binary_kl(t, s, 2.0), rtol=1e-3)


def test_log_odds_have_the_sign_of_the_logits():
    """The divergence is the same for both signs; what follows it may not be."""
    logits = drawn(4, (8, 4)) / 2
    odds = _log_odds(ops.convert_to_tensor(sigmoid(logits)))
    np.testing.assert_allclose(ops.convert_to_numpy(odds), logits, rtol=1e-3, atol=1e-5)


def test_rows_of_zeros_say_nothing():
    """What is padded or left out may hold zeros, beside probabilities and logits."""
    padded = np.concatenate([PROBABILITIES, np.zeros((2, CLASSES), "float32")])
    given_probabilities().check(padded, padded)
    with pytest.raises(ValueError, match="needs logits"):
        losses.LogitsDistillation().check(padded, padded)
    zeros = np.zeros((2, CLASSES), "float32")
    losses.LogitsDistillation().check(zeros, zeros)
