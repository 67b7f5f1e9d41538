"""Several models together: what is left out, and labels that name no class."""

import numpy as np
import pytest
from keras import ops

from keras_kd import ops as kd_ops
from tests.gradients import value_and_gradient
from tests.training.helpers import log_softmax

INF = np.inf
LABELS = np.array([0, 1, 2, 1])


def logits(models=3, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (models, len(LABELS), 3))


def tensor(x, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(x, dtype))


def array(x):
    return ops.convert_to_numpy(x)


def losses_of(z, labels=LABELS):
    rows = np.arange(len(labels))
    return np.stack([-log_softmax(one)[rows, labels] for one in z])


@pytest.mark.parametrize("ruled_out", [[1], [0, 2], [0, 1, 2]])
def test_a_teacher_that_rules_the_label_out_is_the_limit(ruled_out):
    """A teacher of which the label's logit is masked must not make the loss NaN."""
    z = logits()
    far = z.copy()
    for model in ruled_out:
        z[model, np.arange(4), LABELS] = -INF
        far[model, np.arange(4), LABELS] = -1e6
    wrong = losses_of(far)
    # All others of them lose by the same, up to what 1e6 hides.
    wrong[ruled_out] = 1e6
    shares = np.exp(wrong - wrong.max(0))
    wanted = (1 - shares / shares.sum(0)) / 2
    got = array(kd_ops.confidence_weights(tensor(z), tensor(LABELS, "int32")))
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    if len(ruled_out) == 1:
        assert (got[1] == 0.0).all()
    if len(ruled_out) == 3:
        np.testing.assert_allclose(got, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, -100, 3, 255])
def test_a_label_that_names_no_class(label):
    """Torch refuses to index by it; elsewhere it would be another class."""
    z, labels = logits(), LABELS.copy()
    labels[2] = label
    given = tensor(z), tensor(labels, "int32")
    named = np.array([True, True, False, True])
    losses = array(kd_ops.label_crossentropy(*given))
    np.testing.assert_allclose(losses[:, named], losses_of(z)[:, named], rtol=1e-4)
    assert (losses[:, 2] == 0.0).all()
    np.testing.assert_allclose(
        array(kd_ops.confidence_weights(*given))[:, 2], 1 / 3, rtol=1e-6
    )
    margins = array(kd_ops.lowest_margin_logits(*given))
    np.testing.assert_allclose(margins[2], z[:, 2].min(0), rtol=1e-6)
    assert np.isfinite(array(kd_ops.best_logits(*given))).all()


def test_lowest_margin_where_models_leave_the_label_out():
    """inf − inf is no margin: such a model has nothing to say about the distance."""
    z = logits()
    z[0, 0, 0] = -INF  # one
    z[:, 1, 1] = -INF  # all
    z[1, 3, 0] = -INF  # another class
    wanted = np.zeros((4, 3))
    for row, label in enumerate(LABELS):
        mine = [one[row] for one in z]
        margins = [m - m[label] for m in mine if m[label] > -INF]
        wanted[row] = np.min(margins or mine, axis=0)
    got = array(kd_ops.lowest_margin_logits(tensor(z), tensor(LABELS, "int32")))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_a_weight_of_0_takes_a_teacher_out_of_the_mean_logits():
    """0 · inf is NaN, in the value and in the gradient of the weights."""
    z = logits(2)
    z[0, :2, 1] = -INF
    weights = np.array([[0.0, 0.25, 0.5, 1.0], [1.0, 0.75, 0.5, 0.0]])
    wanted = np.zeros((4, 3))
    for row in range(4):
        for w, one in zip(weights[:, row], z[:, row], strict=True):
            wanted[row] += w * one if w > 0 else 0.0
    got = array(kd_ops.mean_of_logits(tensor(z), tensor(weights)))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)

    def scalar(w):
        together = kd_ops.mean_of_logits(tensor(z), w)
        return ops.sum(ops.where(together > -INF, together, 0.0))

    _, gradient = value_and_gradient(scalar, weights.astype("float32"))
    slope = np.where(np.isfinite(z), z, 0.0)
    slope[:, 1, 1] = 0.0  # left out of the mean
    np.testing.assert_allclose(gradient, slope.sum(-1), rtol=1e-4, atol=1e-5)


def test_a_weight_of_0_takes_a_teacher_out_of_the_mean_probabilities():
    """A weight of 1e-30 is seen where the other teacher is sure."""
    sure, other = np.array([[200.0, 0.0, -INF]]), np.array([[0.0, 0.0, -INF]])
    z = tensor([sure, other])
    got = array(kd_ops.mean_of_probabilities(z, tensor([[1.0], [0.0]])))
    np.testing.assert_allclose(got, [[0.0, -200.0, -INF]])

    def scalar(w):
        together = kd_ops.mean_of_probabilities(z, w, temperature=2.0)
        return ops.sum(ops.where(together > -INF, together, 0.0))

    for weights in ([[1.0], [0.0]], [[0.5], [0.5]]):
        _, gradient = value_and_gradient(scalar, np.array(weights, "float32"))
        assert np.isfinite(gradient).all()
