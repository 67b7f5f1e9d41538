"""Gradients that can be written down: what the student is told, logit by logit."""

import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import Divergence, LogitsDistillation
from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.losses.references import log_softmax, softmax


def through_softmax(q, of_q):
    """Return the gradient of the logits from that of the probabilities."""
    return q * (of_q - (q * of_q).sum(-1, keepdims=True))


def of_reverse_kl(p, q):
    return through_softmax(q, np.log(q) - np.log(p))


def of_jsd(beta):
    def gradient(p, q):
        mixed = beta * p + (1 - beta) * q
        return through_softmax(q, (1 - beta) * np.log(q / mixed))

    return gradient


def of_skew_kl(alpha):
    def gradient(p, q):
        mixed = alpha * p + (1 - alpha) * q
        return through_softmax(q, -(1 - alpha) * p / mixed)

    return gradient


def of_skew_reverse_kl(alpha):
    def gradient(p, q):
        mixed = (1 - alpha) * p + alpha * q
        return through_softmax(q, np.log(q / mixed) - alpha * q / mixed)

    return gradient


# T² over one T of the chain rule leaves T; the total variation has no T².
FORMS = {
    "kl_divergence": (Divergence("kl_divergence"), lambda p, q: q - p, 1),
    "reverse_kl_divergence": (Divergence("reverse_kl_divergence"), of_reverse_kl, 1),
    "jensen_shannon_divergence": (
        Divergence("jensen_shannon_divergence", beta=0.3),
        of_jsd(0.3),
        1,
    ),
    "skew_kl_divergence": (
        Divergence("skew_kl_divergence", alpha=0.2),
        of_skew_kl(0.2),
        1,
    ),
    "skew_reverse_kl_divergence": (
        Divergence("skew_reverse_kl_divergence", alpha=0.2),
        of_skew_reverse_kl(0.2),
        1,
    ),
    "symmetric_kl_divergence": (
        Divergence("symmetric_kl_divergence", forward_weight=0.3),
        lambda p, q: 0.3 * (q - p) + 0.7 * of_reverse_kl(p, q),
        1,
    ),
    "categorical_crossentropy": (
        Divergence("categorical_crossentropy"),
        lambda p, q: q - p,
        1,
    ),
    "total_variation_distance": (
        Divergence("total_variation_distance"),
        lambda p, q: through_softmax(q, 0.5 * np.sign(q - p)),
        -1,
    ),
}


def gradient_of(loss, teacher, student, y=None):
    fixed = ops.convert_to_tensor(teacher, "float32")
    step = keras_kd.StepContext(y=y)

    def total(x):
        return ops.sum(called(loss, fixed, x, step))

    return value_and_gradient(total, student.astype("float32"))[1]


def logits():
    random = np.random.default_rng(4)
    return random.normal(0, 2, (6, 5)), random.normal(0, 2, (6, 5))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("name", FORMS)
def test_gradient_of_a_divergence(name, temperature):
    """Its size decides what a weight of 1 means beside the labels."""
    divergence, form, power = FORMS[name]
    teacher, student = logits()
    found = gradient_of(LogitsDistillation(temperature, divergence), teacher, student)
    wanted = form(softmax(teacher / temperature), softmax(student / temperature))
    np.testing.assert_allclose(found, temperature**power * wanted, rtol=2e-4, atol=1e-5)


def test_gradient_of_hard_labels():
    """The teacher's decision counts as a label does."""
    teacher, student = logits()
    found = gradient_of(keras_kd.HardLabelDistillation(), teacher, student)
    wanted = softmax(student) - np.eye(5)[teacher.argmax(-1)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_gradient_of_the_non_target_classes():
    """Decoupled distillation tells the target nothing at α = 0."""
    teacher, student = logits()
    y = np.arange(6) % 5
    loss = keras_kd.losses.DecoupledDistillation(alpha=0.0, beta=1.0, temperature=2.0)
    found = gradient_of(loss, teacher, student, y)
    others = np.where(np.eye(5)[y] > 0, -np.inf, 0.0)
    p, q = (np.exp(log_softmax(z / 2.0 + others)) for z in (teacher, student))
    np.testing.assert_allclose(found, 2.0 * (q - p), rtol=1e-4, atol=1e-6)


def test_gradient_of_mean_squared_logits():
    """2 (s − t) over the classes, and no temperature in it at T = 1."""
    teacher, student = logits()
    found = gradient_of(LogitsDistillation(1.0, "mse"), teacher, student)
    np.testing.assert_allclose(found, 2.0 * (student - teacher) / 5, rtol=1e-4)
