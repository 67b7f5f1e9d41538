"""Trainings whose outcome must not depend on the number of devices."""

from typing import Any

import keras
import numpy as np

import keras_kd
from tests.extension import parts

FEATURES, CLASSES, VOCABULARY = 4, 3, 9


def network(width: int, seed: int) -> keras.Model:
    """Return a classifier whose weights depend on nothing but the seed."""
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(
                width, "tanh", name="hidden", kernel_regularizer=keras.regularizers.L2()
            ),
            keras.layers.Dense(CLASSES),
        ]
    )
    return with_weights(model, seed)


def tagger(width: int, seed: int) -> keras.Model:
    """Return a model of tokens whose embedding masks the zeros."""
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, width, mask_zero=True),
            keras.layers.Dense(width, "tanh", name="hidden"),
            keras.layers.Dense(CLASSES),
        ]
    )
    return with_weights(model, seed)


def with_weights(model: Any, seed: int) -> Any:
    """Set all weights of a model or layer by NumPy, the same on every device."""
    random = np.random.default_rng(seed)
    shapes = [weight.shape for weight in model.weights]
    model.set_weights([random.normal(size=s).astype("float32") for s in shapes])
    return model


def feature_loss(student: keras.Model, teacher: keras.Model) -> Any:
    """Return a loss on the hidden layers, with a projector of known weights."""
    given, wanted = (model.get_layer("hidden").output for model in (student, teacher))
    projector = keras.layers.Dense(wanted.shape[-1], name="projector")
    projector.build(given.shape)
    with_weights(projector, 3)
    return keras_kd.FeatureDistillation("mse", "hidden", "hidden", projector=projector)


def examples() -> dict[str, Any]:
    """Train a classifier with sample weights that differ much between the shards."""
    random = np.random.default_rng(0)
    x = random.normal(size=(16, FEATURES)).astype("float32")
    y = random.integers(0, CLASSES, size=16).astype("int32")
    # Of each batch of 8 one device gets the first four examples.
    weight = np.tile([5.0, 4.0, 3.0, 0.0, 0.0, 0.1, 0.0, 0.2], 2).astype("float32")
    teacher, student = network(7, 1), network(5, 2)
    losses = [keras_kd.LogitsDistillation(2.0), feature_loss(student, teacher)]
    return trained(teacher, student, losses, x, y, weight, "accuracy")


def averages() -> dict[str, Any]:
    """Train a classifier beside the moving average of its weights."""
    random = np.random.default_rng(0)
    x = random.normal(size=(16, FEATURES)).astype("float32")
    y = random.integers(0, CLASSES, size=16).astype("int32")
    student = network(5, 2)
    teacher = keras_kd.teachers.MovingAverage(student, 0.6)
    return trained(teacher, student, [keras_kd.LogitsDistillation(2.0)], x, y)


def peers() -> dict[str, Any]:
    """Train two classifiers that learn from each other."""
    random = np.random.default_rng(0)
    x = random.normal(size=(16, FEATURES)).astype("float32")
    y = random.integers(0, CLASSES, size=16).astype("int32")
    group = keras_kd.students.PeerGroup([network(5, 2), network(7, 3)])
    return trained(None, group, [keras_kd.losses.MutualDistillation()], x, y)


def tokens() -> dict[str, Any]:
    """Train on texts of very different length, without labels."""
    x = np.random.default_rng(0).integers(1, VOCABULARY, size=(16, 6)).astype("int32")
    for row in range(16):
        x[row, 6 if row % 8 < 4 else 1 :] = 0
    teacher, student = tagger(7, 1), tagger(5, 2)
    losses = [keras_kd.LogitsDistillation(2.0), feature_loss(student, teacher)]
    return trained(teacher, student, losses, x, None, None, None)


def stored() -> dict[str, Any]:
    """Train on rows of a table, looked up on the host by the examples' numbers."""
    x, y, table = parts.data()
    teacher = parts.StoredRows(table)
    losses = [keras_kd.LogitsDistillation(2.0), parts.SureOnly()]
    options = {"sample_ids": "id", "student_inputs": parts.features}
    return trained(teacher, network(5, 2), losses, x, y, **options)


def composed() -> dict[str, Any]:
    """Train with a temperature that follows its schedule, two losses deep."""
    random = np.random.default_rng(0)
    x = random.normal(size=(16, FEATURES)).astype("float32")
    y = random.integers(0, CLASSES, size=16).astype("int32")
    schedule = keras.optimizers.schedules.PolynomialDecay(4.0, 6, 1.0)
    inner = parts.Around(keras_kd.LogitsDistillation(schedule))
    loss = parts.Around(inner, name="composed_distillation")
    for one, factor in ((loss, 0.5), (loss.inner, 2.0)):
        one.factor = keras.layers.Dense(1, use_bias=False, name="factor")
        one.factor.build((None, 1))
        one.factor.set_weights([np.array([[factor]])])
    return trained(network(7, 1), network(5, 2), [loss], x, y)


def trained(
    teacher: Any,
    student: Any,
    losses: Any,
    x: Any,
    y: Any,
    weight: Any = None,
    metric: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """Train and evaluate; return logs and weights in JSON form."""
    distiller = keras_kd.Distiller(
        teacher, student, losses, [1.0, 0.5][: len(losses)], 0.3, **options
    )
    loss = None
    if y is not None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        loss,
        weighted_metrics=None if metric is None else [metric],
    )
    in_order = {"batch_size": 8, "verbose": 0, "sample_weight": weight}
    history = distiller.fit(x, y, epochs=3, shuffle=False, **in_order).history
    evaluated = distiller.evaluate(x, y, return_dict=True, **in_order)
    assert_spread(student)
    return {
        "history": {name: list(map(float, history[name])) for name in history},
        "evaluated": {name: float(value) for name, value in evaluated.items()},
        "weights": [value.tolist() for value in distiller.get_weights()],
    }


def assert_spread(student: Any) -> None:
    """Check that the variables are where the distribution should have put them."""
    value = student.trainable_variables[0].value
    if keras.backend.backend() == "jax":
        spread = keras.distribution.distribution() is not None
        assert len(value.devices()) == (2 if spread else 1)


SCENARIOS = {
    "examples": examples,
    "tokens": tokens,
    "averages": averages,
    "peers": peers,
    "stored": stored,
    "composed": composed,
}
