"""What every loss must do, run over the table of all of them."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd.engine.reduction import reduce_loss
from tests.gradients import value_and_gradient
from tests.losses.table import TABLE

ROWS = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())


def as_array(tensor):
    return ops.convert_to_numpy(tensor).astype("float64")


@ROWS
def test_equals_the_paper(row):
    """A wrong formula would train a student on something that no paper describes."""
    teacher, student = row.signals()
    values = row.call(row.build(), teacher.astype("float32"), student.astype("float32"))
    wanted = row.reference(teacher, student)
    assert tuple(values.shape) == wanted.shape
    np.testing.assert_allclose(as_array(values), wanted, rtol=2e-5, atol=1e-6)


@ROWS
def test_gradient_equals_finite_differences(row):
    """The gradient is what trains; a right value with a wrong one is no help."""
    teacher, student = row.signals(seed=1)
    loss = row.build()
    # A weight for each value, so that no error of one hides behind another.
    scale = np.random.default_rng(2).normal(size=row.reference(teacher, student).shape)

    def scalar(x):
        values = row.call(loss, ops.convert_to_tensor(teacher, "float32"), x)
        return ops.sum(values * ops.convert_to_tensor(scale, "float32"))

    _, gradient = value_and_gradient(scalar, student.astype("float32"))
    wanted, step = np.zeros_like(student), 1e-5
    for place in np.ndindex(*student.shape):
        high, low = student.copy(), student.copy()
        high[place] += step
        low[place] -= step
        rise = row.reference(teacher, high) - row.reference(teacher, low)
        wanted[place] = (rise * scale).sum() / (2 * step)
    size = np.abs(wanted).max()
    np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-3 * size)


@ROWS
def test_is_smallest_for_equal_signals(row):
    """A loss whose minimum lies elsewhere teaches the student to differ."""
    if row.minimum is None:
        pytest.skip("its minimum is another constant, or its signals differ in shape")
    teacher, student = row.signals()
    loss = row.build()
    at_equal = as_array(row.call(loss, teacher, ops.convert_to_tensor(teacher)))
    np.testing.assert_allclose(at_equal, row.minimum, atol=1e-5)
    elsewhere = as_array(row.call(loss, teacher, ops.convert_to_tensor(student)))
    assert (elsewhere > row.minimum + 1e-4).all()


@ROWS
def test_survives_large_float16_signals(row):
    """One large logit in half precision must not end a training run with NaN."""
    teacher, student = row.signals()
    if row.kind != "attention":
        teacher, student = 1e4 * np.sign(teacher), 1e4 * np.sign(student)
    loss = row.build()
    teacher = ops.convert_to_tensor(teacher, "float16")

    def scalar(x):
        return ops.sum(ops.cast(row.call(loss, teacher, x), "float32"))

    value, gradient = value_and_gradient(scalar, student.astype("float16"))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@ROWS
def test_mask_equals_slice_and_weight_equals_repetition(row):
    """Padding or a weight that counts otherwise would change what is learned."""
    teacher, student = (x.astype("float32") for x in row.signals())
    loss = row.build()
    batch = len(student)
    weights = np.arange(batch) % 3  # 0 leaves an example out, 2 counts it twice

    def reduced(t, s, **context):
        values = row.call(loss, ops.convert_to_tensor(t), ops.convert_to_tensor(s))
        return float(reduce_loss(loss, values, keras_kd.StepContext(**context)))

    picked = np.repeat(np.arange(batch), weights)
    if len(picked):
        weighted = reduced(
            teacher, student, sample_weight=ops.convert_to_tensor(weights)
        )
        assert weighted == pytest.approx(
            reduced(teacher[picked], student[picked]), rel=1e-5, abs=1e-7
        )
    mask = np.arange(batch) < max(1, batch - 1)
    masked = reduced(teacher, student, student_mask=ops.convert_to_tensor(mask))
    assert masked == pytest.approx(
        reduced(teacher[mask], student[mask]), rel=1e-5, abs=1e-7
    )
    nothing = reduced(teacher, student, sample_weight=ops.zeros((batch,)))
    assert nothing == 0.0


@ROWS
def test_survives_its_own_config(row):
    """A reloaded loss that differs would go on training towards something else."""
    loss = row.make()
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert again.get_config() == loss.get_config()
    teacher, student = (x.astype("float32") for x in row.signals())
    row.make = lambda: again
    try:
        value = row.call(row.build(), teacher, student)
    finally:
        row.make = lambda: loss
    np.testing.assert_array_equal(
        as_array(value), as_array(row.call(row.build(), teacher, student))
    )


@pytest.mark.parametrize("name", [n for n, r in TABLE.items() if r.kind == "logits"])
def test_adding_a_constant_to_all_logits_changes_nothing(name):
    """Logits are known up to a constant; a loss that sees it punishes nothing real."""
    if name in ("binary_kl", "logits_mse"):
        pytest.skip("each logit stands for itself")
    row = TABLE[name]
    teacher, student = row.signals()
    loss = row.build()
    plain = as_array(row.call(loss, teacher, ops.convert_to_tensor(student)))
    shifted = as_array(
        row.call(loss, teacher + 7.0, ops.convert_to_tensor(student - 3.0))
    )
    np.testing.assert_allclose(plain, shifted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_closed_form_gradient_of_the_kl_divergence(temperature):
    """T (q − p) is the gradient that every paper on soft targets counts on."""
    from tests.losses.references import softmax

    teacher, student = TABLE["kl"].signals()

    def scalar(x):
        return ops.sum(
            keras_kd.ops.kl_divergence(
                teacher.astype("float32"), x, temperature=temperature
            )
        )

    _, gradient = value_and_gradient(scalar, student.astype("float32"))
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    np.testing.assert_allclose(gradient, temperature * (q - p), rtol=1e-4, atol=1e-5)


def test_jsd_at_its_ends_is_the_kl_divergence():
    """β = 0 and β = 1 are documented limits, not a loss that is 0 for anything."""
    teacher, student = (x.astype("float32") for x in TABLE["kl"].signals())
    ends = [
        as_array(keras_kd.ops.jensen_shannon_divergence(teacher, student, beta=beta))
        for beta in (0.0, 1.0)
    ]
    np.testing.assert_allclose(
        ends[0], as_array(keras_kd.ops.kl_divergence(teacher, student))
    )
    np.testing.assert_allclose(
        ends[1], as_array(keras_kd.ops.reverse_kl_divergence(teacher, student))
    )
