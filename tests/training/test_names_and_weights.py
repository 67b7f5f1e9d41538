"""One namespace in the logs, and weights of a fixed number."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd import LogitsDistillation
from tests.training.helpers import CROSSENTROPY, data, pair


def distiller_of(*names, weights=None):
    losses = [LogitsDistillation(1.0 + n, name=name) for n, name in enumerate(names)]
    return keras_kd.Distiller(*pair(), losses, weights)


@pytest.mark.parametrize("name", ["loss", "total_loss", "student_loss", "val_loss"])
def test_a_name_that_the_logs_use(name):
    """A loss under Keras's own name would be what EarlyStopping watches."""
    with pytest.raises(ValueError, match="must be free in the logs.*Received: name="):
        distiller_of(name)


@pytest.mark.parametrize("metric", ["accuracy", keras.metrics.Mean(name="mine")])
def test_a_loss_and_a_metric_of_one_name(metric):
    """`val_accuracy` would be the KL divergence, and be maximised."""
    x, y = data()
    distiller = distiller_of("accuracy" if metric == "accuracy" else "mine")
    if metric != "accuracy":
        metric = keras.metrics.SparseCategoricalAccuracy(name="mine")
    distiller.compile("sgd", CROSSENTROPY, metrics=[metric])
    with pytest.raises(ValueError, match="must differ from that of every metric"):
        distiller.fit(x, y, verbose=0)


def test_a_metric_of_one_of_our_names():
    """Two numbers under one name are one number lost."""
    x, y = data()
    distiller = distiller_of("kd")
    metric = keras.metrics.SparseCategoricalAccuracy(name="distillation_loss")
    distiller.compile("sgd", CROSSENTROPY, metrics=[metric])
    with pytest.raises(ValueError, match="names that the Distiller does not use"):
        distiller.fit(x, y, verbose=0)


@pytest.mark.parametrize(
    "names", [("a", "a_2", "a"), ("a", "a", "a_2"), ("a", "a", "a")]
)
def test_each_loss_has_an_entry_of_its_own(names):
    """Of three losses under two names, one would never be seen."""
    x, y = data()
    distiller = distiller_of(*names)
    distiller.compile("sgd", CROSSENTROPY)
    logs = distiller.evaluate(x, y, verbose=0, return_dict=True)
    ours = {"loss", "student_loss", "distillation_loss", "total_loss"}
    values = [logs[name] for name in logs if name not in ours]
    assert len(values) == 3
    assert sum(values) == pytest.approx(logs["distillation_loss"], rel=1e-5)


@pytest.mark.parametrize(
    "change",
    ["append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear"],
)
def test_the_number_of_weights_is_fixed(change):
    """A weight that is appended would belong to no loss, and be saved."""
    distiller = distiller_of("a", "b", weights=[2.0, 1.0])
    assert not hasattr(distiller.distillation_loss_weights, change)
    with pytest.raises(TypeError):
        distiller.distillation_loss_weights += [1.0]
    with pytest.raises((TypeError, AttributeError)):
        del distiller.distillation_loss_weights[0]
    distiller.distillation_loss_weights[1] = 4.0
    assert list(distiller.distillation_loss_weights) == [2.0, 4.0]


def test_weights_are_assigned_as_a_whole():
    """The new weights must reach the step that is compiled already."""
    x, y = data()
    distiller = distiller_of("a", "b")
    distiller.compile(keras.optimizers.SGD(0.0), CROSSENTROPY)
    distiller.fit(x, y, verbose=0)
    distiller.distillation_loss_weights = [0.5, 3.0]
    logs = distiller.fit(x, y, verbose=0).history
    wanted = 0.5 * logs["a"][0] + 3.0 * logs["b"][0]
    np.testing.assert_allclose(logs["distillation_loss"][0], wanted, rtol=1e-5)
