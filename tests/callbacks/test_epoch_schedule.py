"""The weight of one loss that follows the epoch."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.callbacks import EpochSchedule, LossWarmup
from tests.training.helpers import classifier, data

X, Y = data()


def distiller():
    losses = [
        keras_kd.LogitsDistillation(2.0, name="first"),
        keras_kd.LogitsDistillation(4.0, name="second"),
    ]
    made = keras_kd.Distiller(classifier(7), classifier(5), losses, [1.0, 0.5])
    made.compile(keras.optimizers.SGD(0.0))
    return made


def told(made, callback, epochs=4):
    """Return the weight of the second loss in each epoch, as the step applied it."""
    logs = made.fit(
        X, batch_size=8, epochs=epochs, callbacks=[callback], verbose=0
    ).history
    parts = [np.array(logs[n]) for n in ("distillation_loss", "first", "second")]
    return (parts[0] - parts[1]) / parts[2]


BY = {
    "loss": lambda made, f: EpochSchedule(
        "distillation_loss_weights", f, loss=made.distillation_losses[1]
    ),
    "place": lambda made, f: EpochSchedule("distillation_loss_weights[1]", f),
    "last": lambda made, f: EpochSchedule("distillation_loss_weights[-1]", f),
}


@pytest.mark.parametrize("by", BY)
def test_the_weight_of_one_loss_follows_the_epoch(by):
    """The warm-up that DKD, RLD and ReviewKD publish could not be written."""
    made = distiller()
    weights = told(made, BY[by](made, lambda epoch, logs: 0.25 * epoch))
    np.testing.assert_allclose(weights, [0.0, 0.25, 0.5, 0.75], atol=1e-4)
    assert list(made.distillation_loss_weights) == [1.0, 0.75]


def test_the_only_loss_needs_no_naming():
    """One loss is the usual case."""
    loss = keras_kd.LogitsDistillation(2.0, name="term")
    made = keras_kd.Distiller(classifier(7), classifier(5), loss)
    made.compile(keras.optimizers.SGD(0.0))
    schedule = EpochSchedule("distillation_loss_weights", lambda e, logs: 2.0 + e)
    logs = made.fit(X, epochs=2, callbacks=[schedule], verbose=0).history
    weights = np.array(logs["distillation_loss"]) / logs["term"]
    np.testing.assert_allclose(weights, [2.0, 3.0], rtol=1e-5)


def test_the_warmup_reaches_the_full_weight_after_its_share():
    """The published ramp: whole epochs, counted from 1."""
    made = distiller()
    warmup = LossWarmup(3.0, made.distillation_losses[1], share=0.5)
    np.testing.assert_allclose(
        told(made, warmup, epochs=6), [1.0, 2.0, 3.0, 3.0, 3.0, 3.0], rtol=1e-4
    )
    # A share that ends within the first epoch leaves nothing to warm up.
    made = distiller()
    weights = told(made, LossWarmup(3.0, made.distillation_losses[1]), epochs=2)
    np.testing.assert_allclose(weights, [3.0, 3.0], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda m: EpochSchedule("distillation_loss_weights", max),
            "must say the weig",
        ),
        (
            lambda m: EpochSchedule("distillation_loss_weights[2]", max),
            "weights.0.' to 'distillation_loss_weights.1.' without.*weights.2.",
        ),
        (
            lambda m: EpochSchedule(
                "distillation_loss_weights", max, keras_kd.LogitsDistillation()
            ),
            "with `loss=` one of the Distiller's 2",
        ),
        (
            lambda m: EpochSchedule(
                "distillation_loss_weights[0]", max, m.distillation_losses[0]
            ),
            "must say the weight of which loss",
        ),
        (lambda m: LossWarmup(1.0), "must say the weight of which loss"),
        (
            lambda m: EpochSchedule("weight", max),
            "hyperparameter of the Distiller: .*, distillation_loss_weights. Received",
        ),
    ],
)
def test_an_unknown_weight_is_refused_before_training(make, message):
    """After an epoch it would be too late."""
    made = distiller()
    with pytest.raises(ValueError, match=message):
        told(made, make(made))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "`weight` must be a number that is at least 0"),
        ({"weight": 1.0, "share": 0.0}, "`share` must be a number that is greater"),
        ({"weight": 1.0, "share": 1.5}, "at most 1"),
        (
            {"weight": keras_kd.schedules.LinearWarmup(1.0, 3)},
            "`weight` must be a number. .* to the Distiller itself",
        ),
    ],
)
def test_malformed_warmup(arguments, message):
    """The bounds are checked where they are given."""
    with pytest.raises(ValueError, match=message):
        LossWarmup(**arguments)
