"""An example that is left out must not reach the others, whatever it holds."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.gradients import value_and_gradient
from tests.losses.every import BATCH, CASES, step_of, values_in

# Losses that compare examples, or compute statistics of a batch.
RELATING = (
    "dist",
    "mlkd",
    "sp",
    "rkd",
    "pkt",
    "cc",
    "itrd",
    "pkd",
    "srd",
    "crd",
    "ofd",
    "review",
    "ofa",
    "same_class",
    "views",
    "data_free",
    "gated",
    "exits",
)
LEFT_OUT = 2
KEPT = np.delete(np.arange(BATCH), LEFT_OUT)
WEIGHTS = (np.arange(BATCH) != LEFT_OUT).astype("float32")
HOW = {
    "weight": lambda: {"sample_weight": ops.convert_to_tensor(WEIGHTS)},
    "teacher_mask": lambda: {"teacher_mask": ops.convert_to_tensor(WEIGHTS > 0)},
    "student_mask": lambda: {"student_mask": ops.convert_to_tensor(WEIGHTS > 0)},
}


def normal(seed):
    random = np.random.default_rng(seed)
    return lambda shape: random.normal(size=shape)


def to_tensors(signals):
    return keras.tree.map_structure(
        lambda x: ops.convert_to_tensor(x, "float32"), signals
    )


def everything(loss, teacher, student, step, rows):
    """Return the value of the given rows, the gradients, and the loss's new state.

    The gradients are those of each signal of the student, and of the loss's weights.
    """
    trained = [w for layer in loss.layers for w in layer.trainable_weights]
    state = [
        w
        for layer in loss.layers
        for w in layer.non_trainable_weights
        if "float" in str(w.dtype)
    ]
    leaves = keras.tree.flatten(student)
    arrays = [*leaves, *(ops.convert_to_numpy(w) for w in trained)]
    fixed = None if teacher is None else to_tensors(teacher)
    cuts = np.cumsum([array.size for array in arrays])[:-1].tolist()
    after = []

    def scalar(x):
        parts = [
            ops.reshape(part, array.shape)
            for part, array in zip(
                ops.split(x, cuts) if cuts else [x], arrays, strict=True
            )
        ]
        signals = keras.tree.pack_sequence_as(student, parts[: len(leaves)])
        mapping = list(zip(trained, parts[len(leaves) :], strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            values = values_in(loss.call(fixed, signals, step()))
            after[:] = [scope.get_current_value(w) for w in state]
        # Selected after the loss: what is left in the gradient has come by the others.
        return sum(ops.sum(ops.take(value, rows, axis=0)) for value in values)

    with keras.StatelessScope():  # of which JAX's gradient lets nothing out
        scalar(ops.convert_to_tensor(np.concatenate([a.ravel() for a in arrays])))
    states = [ops.convert_to_numpy(value) for value in after]
    flat = np.concatenate([array.ravel() for array in arrays]).astype("float32")
    value, slope = value_and_gradient(scalar, flat)
    slopes = [
        part.reshape(array.shape)
        for part, array in zip(np.split(slope, cuts), arrays, strict=True)
    ]
    return value, slopes[: len(leaves)], slopes[len(leaves) :], states


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", RELATING)
def test_a_row_that_is_left_out_reaches_no_other(name, how):
    """One broken image of weight 0 would make every weight of the student NaN."""
    case = CASES[name]
    if case.shapes[0] is None and how == "teacher_mask":
        pytest.skip("there is no teacher")
    teacher, student = case.filled(normal(0), 0), case.filled(normal(1), 1)
    given = HOW[how]()
    if isinstance(student, dict) and "student_mask" in given:
        mask = given["student_mask"]
        given = {"student_mask": keras.tree.map_structure(lambda _: mask, student)}
    for side in (teacher, student):
        for leaf in keras.tree.flatten(side):
            if leaf is not None:
                leaf[LEFT_OUT] = np.nan

    value, slopes, of_weights, states = everything(
        case.build(), teacher, student, lambda: step_of(**given), KEPT
    )
    fewer = keras.tree.map_structure(
        lambda x: None if x is None else x[KEPT], [teacher, student]
    )
    wanted, wanted_slopes, wanted_of_weights, wanted_states = everything(
        case.build(), *fewer, lambda: step_of(KEPT), np.arange(BATCH - 1)
    )
    assert np.isfinite(wanted)
    assert value == pytest.approx(wanted, rel=1e-4)
    for slope, other in zip(slopes, wanted_slopes, strict=True):
        size = np.abs(other).max()
        np.testing.assert_allclose(slope[KEPT], other, rtol=1e-3, atol=1e-4 * size)
        assert (slope[LEFT_OUT] == 0.0).all()
    for slope, other in zip(of_weights, wanted_of_weights, strict=True):
        size = max(np.abs(other).max(), 0.1)
        np.testing.assert_allclose(slope, other, rtol=1e-3, atol=1e-4 * size)
    for state, other in zip(states, wanted_states, strict=True):
        np.testing.assert_allclose(state, other, rtol=1e-4, atol=1e-6)
