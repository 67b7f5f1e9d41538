"""DistillationOriented where the gradient of the task is not as the whole's is."""

import keras
import numpy as np
import pytest

import keras_kd
from keras_kd.optimizers import DistillationOriented
from tests.training.helpers import (
    BACKEND,
    CROSSENTROPY,
    assert_same,
    classifier,
    copy_of,
    data,
    fit_steps,
    values_of,
)

SGD = keras.optimizers.SGD


def distiller_of(teacher, student, optimizer, loss=CROSSENTROPY):
    distiller = keras_kd.Distiller(teacher, student, keras_kd.LogitsDistillation(1.0))
    distiller.compile(optimizer, loss)
    return distiller


def two_classes(**kwargs):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, **kwargs)])


def test_a_task_gradient_that_overflows_alone_skips_the_step():
    """Labels and teacher that disagree cancel in the sum: NaN would enter unseen."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        student = two_classes(kernel_initializer="zeros")
        teacher = two_classes(dtype="float32")
    finally:
        keras.config.set_dtype_policy("float32")
    opposite = np.array([-30.0, 30.0], "float32")
    teacher.set_weights([np.zeros((4, 2), "float32"), opposite])
    distiller = distiller_of(teacher, student, DistillationOriented(1e-3))
    scaled = distiller.optimizer
    assert isinstance(scaled, keras.optimizers.LossScaleOptimizer)
    x, y = np.full((8, 4), 50.0, "float32"), np.zeros(8, "int32")
    losses = fit_steps(distiller, x, y, steps=8)["loss"]
    assert np.isfinite(losses).all()
    for value in values_of([*student.weights, *scaled.variables]):
        assert np.isfinite(value).all()
    assert float(scaled.dynamic_scale) < scaled.initial_scale
    assert int(scaled.iterations) > 0


@pytest.mark.skipif(BACKEND == "jax", reason="Keras asks for a new optimizer there")
def test_a_layer_frozen_between_steps():
    """Gradients one place off would train each layer by another's task."""
    x, y = data()
    teacher, student = classifier(7), classifier(5)
    twin = copy_of(student)
    optimizers = DistillationOriented(0.1, delta=0.0), SGD(0.1, momentum=0.9)
    for model, optimizer in zip((student, twin), optimizers, strict=True):
        distiller = distiller_of(teacher, model, optimizer)
        fit_steps(distiller, x, y, shuffle=False)
        model.get_layer("hidden").trainable = False
        fit_steps(distiller, x, y, steps=2, shuffle=False)
    assert_same(
        values_of(student.weights), values_of(twin.weights), rtol=1e-5, atol=1e-6
    )


def test_without_a_task():
    """From the teacher alone, all is distillation: momentum μ + Δ."""
    x, _ = data()
    teacher, student = classifier(7), classifier(5)
    twin = copy_of(student)
    pairs = [
        (student, DistillationOriented(0.1, momentum=0.8, delta=0.1)),
        (twin, SGD(0.1, momentum=0.9)),
    ]
    for model, optimizer in pairs:
        fit_steps(distiller_of(teacher, model, optimizer, None), x, steps=4)
    assert_same(
        values_of(student.weights), values_of(twin.weights), rtol=1e-5, atol=1e-6
    )


def test_gradients_of_lookups():
    """TensorFlow gives an embedding's gradient as a few rows."""
    x = np.random.default_rng(0).integers(0, 11, (8, 5)).astype("int32")
    y = data()[1]

    def reader(width):
        return keras.Sequential(
            [
                keras.Input((5,), dtype="int32"),
                keras.layers.Embedding(11, width),
                keras.layers.GlobalAveragePooling1D(),
                keras.layers.Dense(3),
            ]
        )

    teacher, student = reader(4), reader(3)
    twin = copy_of(student)
    optimizers = DistillationOriented(0.1, delta=0.0), SGD(0.1, momentum=0.9)
    for model, optimizer in zip((student, twin), optimizers, strict=True):
        fit_steps(distiller_of(teacher, model, optimizer), x, y, steps=3)
    assert_same(
        values_of(student.weights), values_of(twin.weights), rtol=1e-5, atol=1e-6
    )


def test_the_gradients_of_a_step_do_not_stay():
    """They would hold memory as large as the student, or a trace that has ended."""
    distiller = distiller_of(
        classifier(7), student := classifier(5), DistillationOriented(0.1)
    )
    fit_steps(distiller, *data())
    assert distiller.optimizer.task_gradients is None
    student.compile(distiller.optimizer, CROSSENTROPY, run_eagerly=True)
    with pytest.raises(ValueError, match="needs the gradient of the task apart"):
        student.fit(*data(), verbose=0)


def test_the_config_keeps_a_fixed_loss_scale():
    """A loaded run would scale its loss by another number."""
    given = DistillationOriented(0.1, loss_scale_factor=8.0, weight_decay=0.01)
    again = DistillationOriented.from_config(given.get_config())
    assert (again.loss_scale_factor, again.weight_decay) == (8.0, 0.01)
