"""Signals at which a norm, a root, a division or a logarithm has no gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.gradients import value_and_gradient
from tests.losses.calls import called
from tests.losses.every import CASES, step_of


def normal(seed):
    random = np.random.default_rng(seed)
    return lambda shape: random.normal(size=shape)


def equal_rows(seed):
    return lambda shape: np.broadcast_to(normal(seed)((1, *shape[1:])), shape)


# How the teacher's and the student's signals are filled.
FILLS = {
    "zero_student": (normal(0), np.zeros),
    "zero_both": (np.zeros, np.zeros),
    "equal_rows": (equal_rows(0), equal_rows(1)),
    "constant_student": (normal(0), np.ones),
}


def as_tensors(signals, dtype):
    return keras.tree.map_structure(lambda x: ops.convert_to_tensor(x, dtype), signals)


def slopes(loss, teacher, student, dtype):
    """Return the value and the gradient of each signal of the student."""
    fixed = None if teacher is None else as_tensors(teacher, dtype)
    leaves = keras.tree.flatten(student)
    found = []
    for place, leaf in enumerate(leaves):

        def scalar(x, place=place):
            given = [
                x if i == place else ops.convert_to_tensor(other, dtype)
                for i, other in enumerate(leaves)
            ]
            given = keras.tree.pack_sequence_as(student, given)
            # As in the check of the first batch, where no loss is switched off.
            values = called(loss, fixed, given, step_of(training=False))
            parts = keras.tree.flatten(values)
            total = sum(ops.sum(ops.cast(part, "float32")) for part in parts)
            # A signal that is only a target has a gradient of 0.
            return total + ops.sum(0.0 * ops.cast(x, "float32"))

        found.append(value_and_gradient(scalar, ops.convert_to_tensor(leaf, dtype)))
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_finite_wherever_the_value_is(name, dtype):
    """A head that starts at zero would take all its weights to NaN in one step."""
    case = CASES[name]
    loss = case.build()
    for fill, (of_teacher, of_student) in FILLS.items():
        if fill != "zero_student" and dtype != "float32":
            continue
        teacher = case.filled(of_teacher, 0)
        student = case.filled(of_student, 1)
        for value, slope in slopes(loss, teacher, student, dtype):
            assert np.isfinite(value), fill
            assert np.isfinite(slope).all(), fill
            # Nor is it so large that one step throws the weights far away.
            assert np.abs(slope).max() < 1e4, (fill, np.abs(slope).max())
