"""Labels that name no class: what has one is left out of the mean."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from keras_kd.engine.reduction import reduce_loss
from tests.gradients import value_and_gradient
from tests.losses.every import BATCH, CASES, Y, step_of, values_in
from tests.losses.test_left_out_rows import everything, normal, to_tensors

LABELLED = (
    "dkd",
    "nkd",
    "rld",
    "tf_kd",
    "ofa",
    "exits",
    "confidence",
    "collaborative",
    "lowest_margin",
    "gated",
    "same_class",
    "class_subset",
)
NAMELESS = np.array([1, 4])
KEPT = np.delete(np.arange(BATCH), NAMELESS)


@pytest.mark.parametrize("label", [-1, -100, 255])
@pytest.mark.parametrize("name", LABELLED)
def test_the_mean_is_that_of_the_labelled_examples(name, label):
    """Counted as 0, unlabelled examples would weaken the loss of all others."""
    case = CASES[name]
    teacher, student = case.filled(normal(0), 0), case.filled(normal(1), 1)
    y = Y.copy()
    y[NAMELESS] = label

    def reduced(rows, y):
        loss = case.build()
        step = step_of(rows, y=ops.convert_to_tensor(y), training=False)
        signals = [
            None if side is None else to_tensors(pick(side, rows))
            for side in (teacher, student)
        ]
        values = loss.call(*signals, step)
        return float(ops.convert_to_numpy(reduce_loss(loss, values, step)))

    wanted = reduced(KEPT, Y[KEPT])
    assert wanted != 0.0
    assert reduced(slice(None), y) == pytest.approx(wanted, rel=1e-4)


def pick(signals, rows):
    return keras.tree.map_structure(lambda x: x[rows], signals)


@pytest.mark.parametrize("name", ["dkd", "nkd", "rld", "tf_kd", "ofa"])
def test_a_class_left_out_beside_no_label_is_no_nan(name):
    """0 · inf is not a number, and one of it ends a training run."""
    case = CASES[name]
    teacher, student = case.filled(normal(0), 0), case.filled(normal(1), 1)
    own = student["output"] if isinstance(student, dict) else student
    own[NAMELESS, 2] = -np.inf
    y = Y.copy()
    y[NAMELESS] = -1
    rows = np.arange(BATCH)
    value, slopes, of_weights, _ = everything(
        case.build(),
        teacher,
        student,
        lambda: step_of(y=ops.convert_to_tensor(y), training=False),
        rows,
    )
    assert np.isfinite(value)
    for slope in (*slopes, *of_weights):
        assert np.isfinite(slope).all()


ZERO_WEIGHTS = {
    "decoupled": lambda t, s, y: keras_kd.ops.decoupled_kl_divergence(
        t, s, y, alpha=0.0, beta=1.0
    ),
    "refined": lambda t, s, y: keras_kd.ops.refined_kl_divergence(
        t, s, y, alpha=0.0, beta=1.0
    ),
    "symmetric": lambda t, s, y: keras_kd.ops.symmetric_kl_divergence(
        t, s, forward_weight=0.0
    ),
}


@pytest.mark.parametrize("name", ZERO_WEIGHTS)
def test_a_term_of_weight_zero_is_zero_though_it_be_infinite(name):
    """A student that rules the target out has an infinite term, of no weight here."""
    teacher = ops.convert_to_tensor([[1.0, 2.0, 0.5, 0.1]])
    student = np.array([[1.0, -np.inf, 0.5, 0.7]], "float32")
    y = ops.convert_to_tensor(np.array([1], "int32"))
    value, slope = value_and_gradient(
        lambda s: ops.sum(ZERO_WEIGHTS[name](teacher, s, y)), student
    )
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_a_teacher_of_weight_zero_may_be_infinitely_far():
    """A teacher that rules the label out counts nothing, and 0 · inf is no number."""
    loss = CASES["confidence"].build()
    first = np.array([[1.0, -np.inf, 0.0, 0.0]], "float32")
    second = np.array([[0.0, 1.0, -np.inf, 0.0]], "float32")
    student = np.array([[0.0, 1.0, -np.inf, 0.5]], "float32")
    step = step_of(y=ops.convert_to_tensor(np.array([1], "int32")))
    signals = [ops.convert_to_tensor(x) for x in (first, second)]

    def total(s):
        return ops.sum(values_in(loss.call(signals, s, step))[0])

    value, slope = value_and_gradient(total, student)
    kept = [0, 1, 3]
    p = np.exp(second[0, kept] / 4) / np.exp(second[0, kept] / 4).sum()
    q = np.exp(student[0, kept] / 4) / np.exp(student[0, kept] / 4).sum()
    assert value == pytest.approx(16 * (p * np.log(p / q)).sum(), rel=1e-4)
    assert np.isfinite(slope).all()
