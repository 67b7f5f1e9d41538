"""What a user is told whose outputs do not fit the loss."""

import keras
import pytest

from keras_kd import losses


def spec(*shape):
    return keras.KerasTensor((None, *shape))


def built(loss, teacher, student):
    return lambda: loss().build(spec(*teacher), spec(*student))


KD = losses.LogitsDistillation
WRONG = {
    "regression": (
        r"at least 2 classes.*a regression `LogitsDistillation\(loss='mse'\)`",
        built(KD, (1,), (1,)),
    ),
    "regression_of_another_loss": (
        r"at least 2 classes.*a regression `LogitsDistillation\(loss='mse'\)`",
        built(losses.CorrelationDistillation, (1,), (1,)),
    ),
    "no_last_axis": (
        r"compares outputs.*lacks the last axis.*Reshape\(\(1,\)\)",
        built(KD, (), ()),
    ),
    "no_last_axis_mse": (
        r"compares outputs.*lacks the last axis.*Reshape\(\(1,\)\)",
        built(lambda: KD(loss="mse"), (), ()),
    ),
    "no_last_axis_of_one": (
        r"teacher \(None, 1\), student \(None,\).*lacks the last axis",
        built(KD, (1,), ()),
    ),
    "no_last_axis_of_features": (
        r"compares features.*lacks the last axis",
        built(losses.FeatureDistillation, (), ()),
    ),
    "resolution": (
        r"one shape after the batch axis.*resolution.*keras.layers.Resizing",
        built(KD, (32, 32, 5), (16, 16, 5)),
    ),
    "length": (
        r"one shape after the batch axis.*length.*same tokens",
        built(KD, (7, 5), (6, 5)),
    ),
    "classes": (
        r"one shape after the batch axis.*same classes",
        built(KD, (32, 32, 5), (32, 32, 4)),
    ),
    # Keras's functions broadcast: each output of the teacher against the one.
    "classes_of_a_keras_loss": (
        r"one shape after the batch axis.*same classes",
        built(lambda: KD(loss="mse"), (5,), (1,)),
    ),
    "classes_of_a_keras_object": (
        r"one shape after the batch axis.*same classes",
        built(lambda: KD(loss=keras.losses.MeanSquaredError()), (5,), (1,)),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_message_names_the_cause_and_the_way_out(name):
    """The wrong advice costs more time than none."""
    message, act = WRONG[name]
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        act()
    if name.startswith("no_last"):
        assert "pooling" not in str(caught.value)
    if name in ("resolution", "length"):
        assert "classes in the same order" not in str(caught.value)


def test_a_regression_is_distilled_by_the_squared_difference():
    """What the message offers must work."""
    assert built(lambda: KD(1.0, "mse"), (1,), (1,))() is None
