"""What every loss must do, run over the table of all of them."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd import losses
from keras_kd.engine.reduction import reduce_loss
from tests.gradients import value_and_gradient
from tests.losses.table import TABLE

ROWS = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())


def as_array(tensor):
    return ops.convert_to_numpy(tensor).astype("float64")


def as_tensors(signals, dtype="float32"):
    return keras.tree.map_structure(
        lambda x: ops.convert_to_tensor(x.astype(dtype)), signals
    )


def pick(signals, rows):
    return keras.tree.map_structure(lambda x: x[rows], signals)


def size_of(signals):
    return len(keras.tree.flatten(signals)[0])


PUBLIC = {
    getattr(losses, name)
    for name in losses.__all__
    if inspect.isclass(getattr(losses, name))
    and issubclass(getattr(losses, name), keras_kd.DistillationLoss)
} - {keras_kd.DistillationLoss}


def test_every_loss_has_a_row():
    """A loss outside of the table can be wrong, and nothing here would tell."""
    assert {type(row.make()) for row in TABLE.values()} == PUBLIC


def test_methods_say_whether_they_read_labels():
    """`methods(labels=False)` is for data without labels: these must run on them."""
    reading = {type(row.make()) for row in TABLE.values() if row.labels}
    for name, method in losses.methods().items():
        assert method.labels == (method.make in reading), name


@ROWS
def test_equals_the_paper(row):
    """A wrong formula would train a student on something that no paper describes."""
    teacher, student = row.signals()
    values = row.call(row.build(), as_tensors(teacher), as_tensors(student), row.y())
    wanted = row.expected(teacher, student, row.y())
    assert tuple(values.shape) == wanted.shape
    np.testing.assert_allclose(as_array(values), wanted, rtol=2e-5, atol=2e-6)


@ROWS
def test_gradient_equals_finite_differences(row):
    """The gradient is what trains; a right value with a wrong one is no help."""
    teacher, student = row.signals(seed=1)
    loss, y = row.build(), row.y(seed=1)
    leaves = keras.tree.flatten(student)
    # A weight for each value, so that no error of one hides behind another.
    shape = row.expected(teacher, student, y).shape
    scale = np.random.default_rng(2).normal(size=shape)
    fixed = as_tensors(teacher)

    for place, leaf in enumerate(leaves):

        def student_with(x, place=place):
            changed = [x if i == place else other for i, other in enumerate(leaves)]
            return keras.tree.pack_sequence_as(student, changed)

        def scalar(x, student_with=student_with):
            others = keras.tree.map_structure(
                lambda v: v if v is x else ops.convert_to_tensor(v, "float32"),
                student_with(x),
            )
            values = row.call(loss, fixed, others, y)
            return ops.sum(values * ops.convert_to_tensor(scale, "float32"))

        _, gradient = value_and_gradient(scalar, leaf.astype("float32"))
        wanted, step = np.zeros_like(leaf), 1e-5
        for index in np.ndindex(*leaf.shape):
            high, low = leaf.copy(), leaf.copy()
            high[index] += step
            low[index] -= step
            rise = row.expected(teacher, student_with(high), y, fixed=student)
            rise = rise - row.expected(teacher, student_with(low), y, fixed=student)
            wanted[index] = (rise * scale).sum() / (2 * step)
        size = np.abs(wanted).max()
        np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-3 * size)


@ROWS
def test_is_smallest_for_equal_signals(row):
    """A loss whose minimum lies elsewhere teaches the student to differ."""
    if row.minimum is None:
        pytest.skip("its minimum is another constant, or its signals differ in shape")
    teacher, student = (as_tensors(side) for side in row.signals())
    loss, y = row.build(), row.y()
    at_equal = as_array(row.call(loss, teacher, teacher, y))
    np.testing.assert_allclose(at_equal, row.minimum, atol=1e-5)
    elsewhere = as_array(row.call(loss, teacher, student, y))
    assert (elsewhere > row.minimum + 1e-5).all()


@ROWS
def test_survives_large_float16_signals(row):
    """One large logit in half precision must not end a training run with NaN."""
    teacher, student = row.signals()
    if row.kind != "attention":
        teacher, student = keras.tree.map_structure(
            lambda x: 1e4 * np.sign(x), [teacher, student]
        )
    loss, y = row.build(), row.y()
    teacher = as_tensors(teacher, "float16")
    first, *others = keras.tree.flatten(as_tensors(student, "float16"))

    def scalar(x):
        given = keras.tree.pack_sequence_as(student, [x, *others])
        values = ops.cast(row.call(loss, teacher, given, y), "float32")
        return row.weight * ops.sum(values)

    value, gradient = value_and_gradient(scalar, ops.convert_to_numpy(first))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def reduced(row, loss, teacher, student, y=None, **context):
    step = row.step(student, y, **context)
    values = loss.call(as_tensors(teacher), as_tensors(student), step)
    return float(ops.convert_to_numpy(reduce_loss(loss, values, step)))


@ROWS
def test_weight_equals_repetition(row):
    """A weight that counts otherwise would change what is learned."""
    teacher, student = row.signals()
    loss, y = row.build(), row.y()
    batch = size_of(student)
    nothing = ops.zeros((batch,))
    assert reduced(row, loss, teacher, student, y, sample_weight=nothing) == 0.0
    if row.relational:
        pytest.skip("an example that stands in the batch twice is a relation more")
    weights = np.arange(batch) % 3  # 0 leaves an example out, 2 counts it twice
    picked = np.repeat(np.arange(batch), weights)
    if len(picked):
        weights = ops.convert_to_tensor(weights)
        weighted = reduced(row, loss, teacher, student, y, sample_weight=weights)
        labels = None if y is None else y[picked]
        again = reduced(row, loss, pick(teacher, picked), pick(student, picked), labels)
        assert weighted == pytest.approx(again, rel=1e-5, abs=1e-7)


@ROWS
@pytest.mark.parametrize("how", ["sample_weight", "student_mask"])
def test_mask_equals_slice(row, how):
    """An example that is left out must leave no trace in what the others learn."""
    teacher, student = row.signals()
    loss, y = row.build(), row.y()
    batch = size_of(student)
    mask = np.arange(batch) < max(1, batch - 1)
    given = {how: ops.convert_to_tensor(mask.astype("float32" if "w" in how else bool))}
    masked = reduced(row, loss, teacher, student, y, **given)
    labels = None if y is None else y[mask]
    sliced = reduced(row, loss, pick(teacher, mask), pick(student, mask), labels)
    assert masked == pytest.approx(sliced, rel=1e-5, abs=1e-7)


@ROWS
def test_one_example_is_defined(row):
    """The last batch of an epoch may hold one example; it must not end in NaN."""
    teacher, student = (as_tensors(pick(side, [0])) for side in row.signals())
    y = row.y()
    loss = row.build()
    first, *others = keras.tree.flatten(student)

    def scalar(x):
        given = keras.tree.pack_sequence_as(student, [x, *others])
        return ops.sum(row.call(loss, teacher, given, None if y is None else y[:1]))

    value, gradient = value_and_gradient(scalar, ops.convert_to_numpy(first))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@ROWS
def test_survives_its_own_config(row):
    """A reloaded loss that differs would go on training towards something else."""
    loss = row.make()
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert again.get_config() == loss.get_config()
    teacher, student = (as_tensors(side) for side in row.signals())
    values = []
    for made in (loss, again):
        keras.utils.set_random_seed(0)  # the same projectors
        row_of_it = dataclasses.replace(row, make=lambda made=made: made)
        values.append(row.call(row_of_it.build(), teacher, student, row.y()))
    np.testing.assert_array_equal(as_array(values[0]), as_array(values[1]))


@pytest.mark.parametrize("name", [n for n, r in TABLE.items() if r.kind == "logits"])
def test_adding_a_constant_to_all_logits_changes_nothing(name):
    """Logits are known up to a constant; a loss that sees it punishes nothing real."""
    row = TABLE[name]
    if not row.shift_invariant:
        pytest.skip("each logit stands for itself")
    teacher, student = row.signals()
    loss, y = row.build(), row.y()
    plain = as_array(row.call(loss, as_tensors(teacher), as_tensors(student), y))
    higher = keras.tree.map_structure(lambda x: x + 7.0, teacher)
    lower = keras.tree.map_structure(lambda x: x - 3.0, student)
    shifted = as_array(row.call(loss, as_tensors(higher), as_tensors(lower), y))
    np.testing.assert_allclose(plain, shifted, rtol=1e-4, atol=1e-5)


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
