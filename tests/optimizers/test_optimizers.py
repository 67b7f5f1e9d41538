"""Optimizers of parts, and of two gradients."""

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
    log_softmax,
    outputs,
    values_of,
)


def peers(optimizer, first=None, second=None, **kwargs):
    group = keras_kd.students.PeerGroup(
        [first or classifier(4), second or classifier(6)]
    )
    distiller = keras_kd.Distiller(
        None, group, keras_kd.losses.MutualDistillation(), None, 1.0, **kwargs
    )
    distiller.compile(optimizer, CROSSENTROPY)
    return distiller


def pair():
    return PerPart(
        {
            "peers[0]": keras.optimizers.Adam(0.01, weight_decay=0.1),
            "peers[1]": keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.5),
        }
    )


def test_each_part_trains_as_by_its_own_optimizer():
    """Two rates in one step must not become one."""
    x, y = data()
    first, second = classifier(4), classifier(6)
    alone = [copy_of(first), copy_of(second)]
    distiller = peers(pair(), first, second, distillation_weight=0.0)
    fit_steps(distiller, x, y, steps=4, shuffle=False)
    optimizers = [
        keras.optimizers.Adam(0.01, weight_decay=0.1),
        keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.5),
    ]
    for model, single, optimizer in zip(
        (first, second), alone, optimizers, strict=True
    ):
        single.compile(optimizer, CROSSENTROPY)
        single.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
        assert_same(
            values_of(model.weights), values_of(single.weights), rtol=1e-5, atol=1e-6
        )
    assert int(distiller.optimizer.iterations) == 4


def test_projectors_belong_to_the_default():
    """What a loss owns must train too, by a known optimizer."""
    x, y = data()
    still = keras.optimizers.SGD(0.0)
    optimizer = PerPart({"hidden": keras.optimizers.SGD(0.1)}, default=still)
    distiller = keras_kd.Distiller(
        classifier(7),
        classifier(5),
        keras_kd.FeatureDistillation("mse", "hidden", "hidden"),
    )
    distiller.compile(optimizer, CROSSENTROPY)
    distiller.train_on_batch(x, y)
    before = values_of(distiller.trainable_variables)
    distiller.train_on_batch(x, y)
    moved = {
        variable.path.split("/")[-2]
        for variable, old in zip(distiller.trainable_variables, before, strict=True)
        if not np.array_equal(old, values_of([variable])[0])
    }
    assert moved == {"hidden"}


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("kind", ["parts", "oriented"])
def test_a_saved_run_goes_on_bit_for_bit(kind, policy, tmp_path):
    """The state of an inner optimizer that is lost shows as a jump in the loss."""
    keras.config.set_dtype_policy(policy)
    try:
        x, y = data()
        distiller = (
            peers(pair())
            if kind == "parts"
            else oriented(classifier(7), classifier(5), DistillationOriented(0.1))
        )
        fit_steps(distiller, x, y, steps=2, shuffle=False)
        distiller.save(tmp_path / "d.keras")
        loaded = keras.saving.load_model(tmp_path / "d.keras")
        for each in (distiller, loaded):
            fit_steps(each, x, y, steps=2, shuffle=False)
    finally:
        keras.config.set_dtype_policy("float32")
    assert_same(
        values_of(loaded.student.variables), values_of(distiller.student.variables)
    )
    assert_same(
        values_of(loaded.optimizer.variables), values_of(distiller.optimizer.variables)
    )


def test_the_learning_rate_is_scaled():
    """ReduceLROnPlateau must lower all rates, and keep them apart."""
    distiller = peers(pair())
    assert float(distiller.optimizer.learning_rate) == pytest.approx(0.01)
    distiller.optimizer.learning_rate = 0.005
    rates = [float(o.learning_rate) for o in distiller.optimizer.parts.values()]
    assert rates == pytest.approx([0.005, 0.05])


def oriented(teacher, student, optimizer):
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(2.0), student_loss_weight=0.3
    )
    distiller.compile(optimizer, CROSSENTROPY)
    return distiller


def linear(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1)),
        ]
    )


def by_hand(x, y, teacher, kernel, bias, steps, rate=0.2, mu=0.9, delta=0.075):
    """Return the weights of a linear student after some steps, in float64."""
    weights = [kernel.astype("float64"), bias.astype("float64")]
    task, kd = ([np.zeros_like(w) for w in weights] for _ in range(2))
    p = np.exp(log_softmax(teacher / 2.0))
    for _ in range(steps):
        z = x @ weights[0] + weights[1]
        for_task = 0.3 * (np.exp(log_softmax(z)) - np.eye(3)[y]) / len(x)
        for_kd = 0.7 * 2.0 * (np.exp(log_softmax(z / 2.0)) - p) / len(x)
        penalty = [2 * 0.1 * weights[0], 0.0]
        for n in range(2):
            g = (x.T @ for_task if n == 0 else for_task.sum(0)) + penalty[n]
            d = x.T @ for_kd if n == 0 else for_kd.sum(0)
            task[n] = (mu - delta) * task[n] + g
            kd[n] = (mu + delta) * kd[n] + d
            weights[n] = weights[n] - rate * (task[n] + kd[n])
    return weights


@pytest.mark.parametrize("eager", [False, True])
def test_three_steps_by_hand(eager):
    """Two momenta that are swapped would look like any other training."""
    x, y = data()
    teacher, student = linear(1), linear(2)
    wanted = by_hand(
        x.astype("float64"), y, outputs(teacher, x), *student.get_weights(), steps=3
    )
    distiller = oriented(teacher, student, DistillationOriented(0.2))
    distiller.compile(DistillationOriented(0.2), CROSSENTROPY, run_eagerly=eager)
    fit_steps(distiller, x, y, steps=3)
    assert_same(student.get_weights(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_without_a_difference_it_is_plain_momentum(policy):
    """Under loss scaling the task's gradient must be unscaled as the total is."""
    keras.config.set_dtype_policy(policy)
    try:
        x, y = data()
        teacher, student = classifier(7), classifier(5)
        twin = copy_of(student)
        first = oriented(teacher, student, DistillationOriented(0.1, delta=0.0))
        second = oriented(teacher, twin, keras.optimizers.SGD(0.1, momentum=0.9))
        for each in (first, second):
            fit_steps(each, x, y, steps=5, shuffle=False)
    finally:
        keras.config.set_dtype_policy("float32")
    tolerance = 1e-5 if policy == "float32" else 2e-3
    assert_same(
        student.get_weights(), twin.get_weights(), rtol=tolerance, atol=tolerance
    )


def test_one_forward_of_each_side():
    """A second gradient must not cost a second forward pass."""
    from tests.training.helpers import counted_classifier

    x, y = data()
    made = [counted_classifier(7), counted_classifier(5)]
    distiller = oriented(made[0][0], made[1][0], DistillationOriented(0.1))
    distiller.train_on_batch(x, y)
    for _, counter in made:
        counter.calls = 0
    distiller.make_train_function(force=True)
    distiller.train_on_batch(x, y)
    assert [counter.calls for _, counter in made] == [1, 1]


def test_malformed():
    """Messages say what is wrong before a run is lost to it."""
    adam = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="`optimizers` must be a dict"):
        PerPart([adam])
    with pytest.raises(ValueError, match="`optimizers` must all be Keras"):
        PerPart({"a": "adam"})
    with pytest.raises(ValueError, match="must not hold the same object"):
        PerPart({"a": adam, "b": adam})
    with pytest.raises(ValueError, match="must have no `loss_scale_factor`"):
        PerPart({"a": keras.optimizers.Adam(loss_scale_factor=8.0)})
    with pytest.raises(ValueError, match="No layer"):
        peers(PerPart({"peers[7]": keras.optimizers.Adam()}))
    with pytest.raises(ValueError, match="PerPart must know the model"):
        PerPart({"a": adam}).build(classifier().trainable_variables)
    with pytest.raises(ValueError, match="`clipnorm` must be None"):
        DistillationOriented(clipnorm=1.0)
    with pytest.raises(ValueError, match="`delta` must be a number"):
        DistillationOriented(delta=0.2)
    x, y = data()
    plain = classifier()
    plain.compile(DistillationOriented(), CROSSENTROPY, run_eagerly=True)
    with pytest.raises(ValueError, match="needs the gradient of the task apart"):
        plain.fit(x, y, verbose=0)
