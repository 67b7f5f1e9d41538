"""PerPart where a silent mistake would train the wrong thing, or nothing."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.optimizers import DistillationOriented, PerPart
from tests.training.helpers import (
    CROSSENTROPY,
    assert_same,
    classifier,
    copy_of,
    data,
    fit_steps,
    linear,
    values_of,
)

SGD = keras.optimizers.SGD


def peers(first, second):
    group = keras_kd.students.PeerGroup([classifier(4), classifier(6)])
    distiller = keras_kd.Distiller(
        None,
        group,
        keras_kd.losses.MutualDistillation(),
        None,
        1.0,
        distillation_weight=0.0,
    )
    distiller.compile(PerPart({"peers[0]": first, "peers[1]": second}), CROSSENTROPY)
    return distiller


def rates(optimizer):
    return [float(each.learning_rate) for each in optimizer.parts.values()]


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class BuiltLate(keras.Model):
    """Has its layers, but no variables before it sees a batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(4, name="first")
        self.second = keras.layers.Dense(3, name="second")

    def call(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.1, "gradient_accumulation_steps": 2},
        {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5},
        {"learning_rate": 0.1, "use_ema": True, "ema_overwrite_frequency": 2},
        {"learning_rate": 0.1, "global_clipnorm": 0.1},
        {"learning_rate": linear(0.1, 0.0)},
    ],
    ids=["accumulation", "average", "overwritten", "global_norm", "schedule"],
)
def test_what_an_inner_optimizer_does_stays(settings):
    """An average never written back, or a norm over both parts, would go unnoticed."""
    x, y = data()
    distiller = peers(SGD(0.3), SGD(**settings))
    part = distiller.student.peers[1]
    alone = copy_of(part)
    fit_steps(distiller, x, y, steps=4, shuffle=False)
    alone.compile(SGD(**settings), CROSSENTROPY)
    alone.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
    assert_same(values_of(part.weights), values_of(alone.weights), rtol=1e-5, atol=1e-6)


def test_a_student_without_variables_yet_is_routed_too():
    """Compiled before the first batch, all would go to the default unseen."""
    x, y = data()
    student = BuiltLate()
    distiller = keras_kd.Distiller(
        classifier(7), student, keras_kd.LogitsDistillation()
    )
    distiller.compile(PerPart({"first": SGD(0.0), "second": SGD(0.1)}), CROSSENTROPY)
    distiller.train_on_batch(x, y)
    before = values_of(student.trainable_variables)
    distiller.train_on_batch(x, y)
    after = values_of(student.trainable_variables)
    moved = [
        not np.array_equal(old, new) for old, new in zip(before, after, strict=True)
    ]
    assert moved == [False, False, True, True]


def test_steps_count_while_the_first_part_is_frozen():
    """Schedules of temperatures and weights read this count: they would stop."""
    x, y = data()
    distiller = peers(SGD(0.1), SGD(0.1))
    distiller.student.peers[0].trainable = False
    distiller.compile(distiller.optimizer, CROSSENTROPY)
    fit_steps(distiller, x, y, steps=3)
    assert int(distiller.optimizer.iterations) == 3


def test_a_warm_up_from_zero_keeps_the_rates_apart():
    """Zero times any factor is zero: the rates would come back as one."""
    optimizer = PerPart({"a": SGD(0.01), "b": SGD(0.1)})
    optimizer.learning_rate = 0.0
    assert rates(optimizer) == [0.0, 0.0]
    optimizer.learning_rate = np.float32(0.02)
    assert rates(optimizer) == pytest.approx([0.02, 0.2])


def test_rates_of_zero_are_saved_with_their_proportions(tmp_path):
    """A run that is interrupted in a pause would go on at no rate at all."""
    distiller = peers(SGD(0.01), SGD(0.1))
    fit_steps(distiller, *data())
    distiller.optimizer.learning_rate = 0.0
    distiller.save(tmp_path / "d.keras")
    distiller.save_weights(tmp_path / "d.weights.h5")
    fresh = peers(SGD(0.01), SGD(0.1))
    fresh.load_weights(tmp_path / "d.weights.h5")
    for each in (keras.saving.load_model(tmp_path / "d.keras"), fresh):
        assert rates(each.optimizer) == [0.0, 0.0]
        each.optimizer.learning_rate = 0.02
        assert rates(each.optimizer) == pytest.approx([0.02, 0.2])


def test_what_is_excluded_from_weight_decay_does_not_decay():
    """Biases that decay in silence are not what was asked for."""
    x, y = data()
    decayed, plain = (
        peers(SGD(0.1, weight_decay=decay), SGD(0.1, weight_decay=decay))
        for decay in (0.5, None)
    )
    plain.set_weights(decayed.get_weights())
    kernel = decayed.student.peers[1].get_layer("hidden").kernel
    decayed.optimizer.exclude_from_weight_decay([kernel], ["bias"])
    for each in (decayed, plain):
        fit_steps(each, x, y)
    for variable, other in zip(decayed.weights, plain.weights, strict=True):
        kept = variable is kernel or variable.name == "bias"
        one, without = values_of([variable, other])
        assert np.allclose(one, without, atol=1e-6) == kept


def test_rates_that_cannot_be_scaled():
    """A half-applied rate would leave one part at the old one."""
    mixed = PerPart({"a": SGD(0.01), "b": SGD(linear(0.1, 0.0))})
    with pytest.raises(ValueError, match="must be a number, and scales numbers only"):
        mixed.learning_rate = 0.005
    assert rates(mixed) == pytest.approx([0.01, 0.1])
    plain = PerPart({"a": SGD(0.01), "b": SGD(0.1)})
    with pytest.raises(ValueError, match="must be a number, and scales numbers only"):
        plain.learning_rate = linear(0.1, 0.0)
    still = PerPart({"a": SGD(0.0), "b": SGD(0.1)})
    with pytest.raises(ValueError, match="which must not be 0"):
        still.learning_rate = 0.1


def test_a_file_holds_each_state_once(tmp_path):
    """Adam's state is twice the model: a second copy doubles a checkpoint."""
    distiller = peers(keras.optimizers.Adam(0.1), keras.optimizers.Adam(0.1))
    fit_steps(distiller, *data())
    distiller.save(tmp_path / "d.keras")
    held = []
    with zipfile.ZipFile(tmp_path / "d.keras") as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(weights) as file:
            file["optimizer"].visititems(
                lambda _, item: held.append(getattr(item, "size", 0))
            )
    assert sum(held) == sum(np.prod(v.shape) for v in distiller.optimizer.variables)


def test_gradients_that_fit_no_part():
    """What Keras refuses must not be passed over in silence."""
    distiller = peers(SGD(0.1), SGD(0.1))
    fit_steps(distiller, *data())
    optimizer, variables = distiller.optimizer, distiller.trainable_variables
    other = keras.Variable(np.ones(2, "float32"))
    with pytest.raises(ValueError, match="only the variables that it was built for"):
        optimizer.apply([keras.ops.ones(2)], [other])
    with pytest.raises(ValueError, match="a gradient for at least one variable"):
        optimizer.apply([None] * len(variables), variables)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (lambda: keras.optimizers.LossScaleOptimizer(SGD(0.1)), "not scale the loss"),
        (lambda: PerPart({"a": SGD(0.1)}), "each need its gradients only"),
        (lambda: DistillationOriented(0.1), "each need its gradients only"),
    ],
    ids=["loss_scale", "parts_of_parts", "oriented"],
)
def test_optimizers_that_cannot_train_a_part(inner, message):
    """A loss scale of its own would divide gradients that were never multiplied."""
    with pytest.raises(ValueError, match=message):
        PerPart({"a": inner()})
