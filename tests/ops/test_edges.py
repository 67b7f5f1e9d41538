"""Where a formula meets its edge: zeros, equal logits, classes left out."""

import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import ops as kd_ops
from keras_kd.ops.positions import mean_over_positions
from tests.gradients import value_and_gradient
from tests.losses import references as ref

LEFT_OUT = np.array([[1.0, -np.inf, 0.5]], "float32")
DIVERGENCES = [name for name in keras_kd.Divergence.names() if "binary" not in name]


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_class_left_out_on_both_sides_counts_for_nothing(name):
    """Vocabulary padding is masked by -inf; one NaN there would end the training."""
    divergence = keras_kd.Divergence(name)
    student = np.array([[0.2, -np.inf, 0.9]], "float32")
    value, gradient = value_and_gradient(
        lambda x: ops.sum(divergence(LEFT_OUT, x, temperature=2.0)), student
    )
    kept = [0, 2]
    wanted, slope = value_and_gradient(
        lambda x: ops.sum(divergence(LEFT_OUT[:, kept], x, temperature=2.0)),
        student[:, kept],
    )
    assert value == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(gradient[:, kept], slope, rtol=1e-4, atol=1e-6)
    assert gradient[0, 1] == 0.0


def test_equal_logits_standardize_to_zero_with_a_finite_gradient():
    """A student whose last layer starts at zero has equal logits in its first step."""
    value, gradient = value_and_gradient(
        lambda x: ops.sum(kd_ops.standardize(x) ** 2), np.ones((2, 4), "float32")
    )
    assert value == 0.0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e15])
def test_attention_maps_of_any_size_are_finite(scale):
    """A dead or an exploding feature map must not turn the loss into NaN."""
    features = scale * np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    value, gradient = value_and_gradient(
        lambda x: ops.sum(kd_ops.spatial_attention(x)), features.astype("float32")
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_other_powers_of_attention():
    """The exponent is an argument and has to be the one that is used."""
    features = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    energy = (np.abs(features) ** 3).mean(-1).reshape(2, -1)
    wanted = energy / np.linalg.norm(energy, axis=1, keepdims=True)
    maps = kd_ops.spatial_attention(features.astype("float32"), power=3.0)
    np.testing.assert_allclose(ops.convert_to_numpy(maps), wanted, rtol=1e-4)


@pytest.mark.parametrize("size", [(3, 3), (7, 2), (1, 1), (7, 6)])
def test_pooling_equals_a_loop(size):
    """A resize that is off by a pixel compares one place with another."""
    maps = np.random.default_rng(0).normal(size=(2, 7, 6, 3))
    pooled = kd_ops.adaptive_average_pool(maps.astype("float32"), size)
    np.testing.assert_allclose(
        ops.convert_to_numpy(pooled), ref.pool(maps, size), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("of_rows", [False, True])
def test_a_mean_over_positions_equals_a_loop(axes, of_rows):
    """Padding that counts makes the same sentence another one in another batch."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4, *(3, 2)[:axes], 5))
    mask = random.random((4,) if of_rows else features.shape[:-1]) > 0.4
    mask[0], mask[1] = True, False  # all positions, and none
    wanted = np.zeros((4, 5))
    for row, where in enumerate(mask):
        kept = features[row].reshape(-1, 5)
        kept = kept[np.broadcast_to(where, features.shape[1:-1]).reshape(-1)]
        wanted[row] = kept.mean(0) if len(kept) else 0.0
    features[~mask] = np.nan
    got = mean_over_positions(
        ops.convert_to_tensor(features, "float32"), ops.convert_to_tensor(mask)
    )
    np.testing.assert_allclose(ops.convert_to_numpy(got), wanted, rtol=1e-4, atol=1e-6)


def test_numbers_outside_of_their_range_are_refused():
    """A mixture weight of 1.5 makes logarithms of negative numbers."""
    pair = np.zeros((1, 3), "float32"), np.zeros((1, 3), "float32")
    with pytest.raises(ValueError, match="`beta` must be from 0 to 1. Received"):
        kd_ops.jensen_shannon_divergence(*pair, beta=1.5)
    with pytest.raises(ValueError, match="`alpha` must be at least 0 and below 1"):
        kd_ops.skew_kl_divergence(*pair, alpha=1.0)
    with pytest.raises(ValueError, match="`size` must be at least 1 and at most"):
        kd_ops.adaptive_average_pool(np.zeros((1, 2, 2, 1), "float32"), (3, 1))
