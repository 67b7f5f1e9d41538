"""Values and gradients of the logits losses where half precision and infinity bite."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import HardLabelDistillation, LogitsDistillation
from tests.gradients import value_and_gradient
from tests.losses.calls import called

DTYPES = ["float16", "bfloat16", "float32"]

DIVERGENCES = {
    "kl": "kl_divergence",
    "reverse_kl": "reverse_kl_divergence",
    "jsd": keras_kd.Divergence("jensen_shannon_divergence", beta=0.3),
    "skew_kl": "skew_kl_divergence",
    "skew_reverse_kl": "skew_reverse_kl_divergence",
    "total_variation": "total_variation_distance",
    "crossentropy": "categorical_crossentropy",
    "binary_kl": "binary_kl_divergence",
}
LOSSES = {
    **{
        name: lambda loss=loss: LogitsDistillation(2.0, loss)
        for name, loss in DIVERGENCES.items()
    },
    "standardized_kl": lambda: LogitsDistillation(2.0, standardize=True),
    "mse": lambda: LogitsDistillation(1.0, "mse"),
    "hard_labels": HardLabelDistillation,
}
SHAPES = {
    "two_classes": (3, 2),
    "one_example": (1, 5),
    "one_example_two_classes": (1, 2),
    "classes": (4, 7),
    "tokens": (2, 3, 5),
    "pixels": (2, 3, 2, 4),
}


def on_logits(make, teacher, dtype):
    """Return the sum of a loss as a function of the student's logits."""
    loss = make()
    teacher = ops.convert_to_tensor(teacher, dtype)
    context = keras_kd.StepContext()

    def total(student):
        values = called(loss, teacher, ops.cast(student, dtype), context)
        assert keras.backend.standardize_dtype(values.dtype) == "float32"
        assert tuple(values.shape) == tuple(student.shape[:-1])
        return ops.sum(values)

    return total


def logits(shape, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_finite_at_huge_logits(name, dtype):
    """One outlier in half precision must not turn all weights into NaN."""
    signs = np.array(
        [
            [1, -1, -1, 0],
            [-1, 1, 1, 0],
            [1, 1, 1, 1],
            [-1, -1, -1, -1],
            [0, 0, 1, -1],
            [1, -1, 0, 0],
        ],
        "float32",
    )
    for student in (signs, -signs, np.roll(signs, 1, axis=-1), 0.0 * signs):
        total = on_logits(LOSSES[name], 1e4 * signs, dtype)
        value, gradient = value_and_gradient(total, 1e4 * student)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradient_moves_a_wrong_student(name, dtype):
    """Finite is not enough: a gradient of zero would leave the student where it is."""
    teacher, student = logits((4, 6)), logits((4, 6), seed=1)
    total = on_logits(LOSSES[name], teacher, dtype)
    value, gradient = value_and_gradient(total, student)
    assert value > 0
    assert (np.abs(gradient).sum(axis=-1) > 1e-3).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", [*(n for n in DIVERGENCES if n != "binary_kl"), "hard_labels"]
)
def test_masked_class_changes_nothing(name, dtype):
    """Logits of -inf are how a class is left out; it must not poison the others."""
    teacher, student = logits((3, 5)), logits((3, 5), seed=1)
    wanted, wanted_gradient = value_and_gradient(
        on_logits(LOSSES[name], teacher, dtype), student
    )
    masks = [np.insert(array, 2, -np.inf, axis=-1) for array in (teacher, student)]
    value, gradient = value_and_gradient(
        on_logits(LOSSES[name], masks[0], dtype), masks[1]
    )
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    assert np.array_equal(gradient[:, 2], np.zeros(3))
    np.testing.assert_allclose(
        np.delete(gradient, 2, axis=-1), wanted_gradient, rtol=1e-2, atol=1e-5
    )


@pytest.mark.parametrize("name", ["binary_kl", "standardized_kl", "mse"])
def test_masked_class_where_a_mask_has_a_meaning(name):
    """A sigmoid that says no for certain on both sides agrees; there is no NaN."""
    teacher, student = logits((3, 5)), logits((3, 5), seed=1)
    teacher[:, 2] = student[:, 2] = -np.inf
    total = on_logits(LOSSES[name], teacher, "float32")
    value, gradient = value_and_gradient(total, student)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_every_shape(name, shape):
    """Classifiers, language models and segmentation give logits of these shapes."""
    teacher, student = logits(shape), logits(shape, seed=1)
    value, gradient = value_and_gradient(
        on_logits(LOSSES[name], teacher, "float32"), student
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    # The rows do not know of each other: in any shape they add up to the same.
    rows = [array.reshape(-1, shape[-1]) for array in (teacher, student)]
    wanted, _ = value_and_gradient(on_logits(LOSSES[name], rows[0], "float32"), rows[1])
    np.testing.assert_allclose(value, wanted, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 4), (1, 2, 2, 3)], ids=str)
def test_scalar_interface(shape, dtype):
    """compute_loss is what code written for keras.distillation calls."""
    teacher = ops.convert_to_tensor(logits(shape), dtype)
    student = ops.convert_to_tensor(logits(shape, seed=1), dtype)
    value = LogitsDistillation().compute_loss(teacher, student)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) > 0


def softmax(x):
    """Return the softmax over the last axis in float64."""
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def log_softmax(x):
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def reference(teacher, student, temperature):
    """Return T² KL(p ‖ q) summed over the rows and its gradient T (q − p)."""
    teacher = np.asarray(teacher, "float64") / temperature
    student = np.asarray(student, "float64") / temperature
    p, q = softmax(teacher), softmax(student)
    gaps = (p * (log_softmax(teacher) - log_softmax(student))).sum()
    return temperature**2 * gaps, temperature * (q - p)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_kl_at_a_gap_of_sixty(dtype, temperature):
    """A confident teacher and a student as sure of another class: where it matters.

    log(softmax + ε), as it is often written, is flat there and teaches nothing.
    """
    teacher = np.array([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0], [30.0, -30.0, 0.0]])
    student = np.array([[0.0, 60.0, 0.0], [0.0, 0.0, 60.0], [-30.0, 30.0, 0.0]])
    wanted, wanted_gradient = reference(teacher, student, temperature)
    total = on_logits(lambda: LogitsDistillation(temperature), teacher, dtype)
    value, gradient = value_and_gradient(total, student.astype("float32"))
    # The logits are exact in each of the types; so must the rest be.
    tolerance = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(
        gradient, wanted_gradient, rtol=tolerance, atol=tolerance * temperature
    )


@pytest.mark.parametrize("peaked", [False, True])
def test_kl_at_262144_classes_in_bfloat16(peaked):
    """The vocabulary of a large model: bfloat16 sums would lose all small terms."""
    rng = np.random.default_rng(11)
    scale = 6.0 if peaked else 1.0
    teacher = rng.normal(size=(2, 262_144)) * scale
    student = rng.normal(size=(2, 262_144)) * scale
    # What the loss is given are the numbers that bfloat16 can hold.
    teacher, student = (
        ops.convert_to_numpy(
            ops.cast(ops.cast(array.astype("float32"), "bfloat16"), "float32")
        )
        for array in (teacher, student)
    )
    wanted, wanted_gradient = reference(teacher, student, 2.0)
    total = on_logits(lambda: LogitsDistillation(2.0), teacher, "bfloat16")
    value, gradient = value_and_gradient(total, student)
    assert abs(value - wanted) <= 0.01 * wanted
    size, wanted_size = np.linalg.norm(gradient), np.linalg.norm(wanted_gradient)
    assert abs(size - wanted_size) <= 0.01 * wanted_size
    cosine = (gradient * wanted_gradient).sum() / (size * wanted_size)
    assert cosine >= 0.9999
    error = np.linalg.norm(gradient - wanted_gradient)
    assert error <= 0.01 * wanted_size
