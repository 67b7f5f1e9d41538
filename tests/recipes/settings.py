"""Small recipes on small data, each with what makes it worth a test of resuming."""

from dataclasses import replace

import keras
import numpy as np
from keras import layers

import keras_kd
from keras_kd import recipes

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(rows=48, classes=4, seed=0):
    """Return points around a centre for each class."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, 6))
    y = random.integers(0, classes, rows)
    x = centres[y] + 0.5 * random.normal(size=(rows, 6))
    return x.astype("float32"), y.astype("int32")


def tasks():
    """Return two tasks of two classes each."""
    x, y = data()
    return [(x[y < 2], y[y < 2]), (x[y >= 2], y[y >= 2])]


def build(width=8, classes=4, depth=1):
    """Return a student with statistics and dropout, whose state could get lost."""
    x = inputs = keras.Input((6,))
    for block in range(depth):
        x = layers.Dense(width, name=f"dense_{block}")(x)
        x = layers.BatchNormalization(momentum=0.8, name=f"norm_{block}")(x)
        x = layers.ReLU(name=f"block_{block}")(x)
        x = layers.Dropout(0.2, name=f"dropout_{block}")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def compile_model(model):
    model.compile(keras.optimizers.Adam(0.01), CROSSENTROPY, metrics=["accuracy"])


def training(**changes):
    x, y = data()
    made = recipes.Training(
        x, y, compile=compile_model, epochs=3, batch_size=16, seed=5
    )
    return replace(made, **changes)


def quick(x, y, **changes):
    """Return a training that learns something in few and large steps."""

    def compile_quick(model):
        rate = keras.optimizers.Adam(0.03)
        model.compile(rate, CROSSENTROPY if y is not None else None)

    usual = {"compile": compile_quick, "epochs": 8, "batch_size": 40}
    return training(x=x, y=y, **{**usual, **changes})


def teacher():
    """Return a teacher, the same one each time."""
    keras.utils.set_random_seed(77)
    return build(16, depth=2)


def _features(teacher, student):
    return keras_kd.Distiller(
        teacher,
        student,
        [
            keras_kd.LogitsDistillation(2.0),
            keras_kd.FeatureDistillation("mse", "block_0", "block_0"),
        ],
    )


RECIPES = {
    "born_again": lambda folder, made: recipes.born_again(
        build, made, directory=folder, generations=1, distil=_features, verbose=0
    ),
    "assistant_chain": lambda folder, made: recipes.assistant_chain(
        [lambda: build(12), lambda: build(6)],
        made,
        directory=folder,
        teacher=teacher(),
        distil=_features,
        verbose=0,
    ),
    "ensemble": lambda folder, made: recipes.ensemble(
        [lambda: build(8)] * 2, lambda: build(6), made, directory=folder, verbose=0
    ),
    "snapshots": lambda folder, made: recipes.snapshots(
        build, made, directory=folder, cycles=2, verbose=0
    ),
    "stage_wise": lambda folder, made: recipes.stage_wise(
        lambda: build(8, depth=2),
        teacher(),
        [
            recipes.Phase(
                lambda: keras_kd.FeatureDistillation("mse", "block_0", "block_0"),
                epochs=2,
                trainable=["dense_0", "norm_0"],
            ),
            recipes.Phase(
                lambda: keras_kd.LogitsDistillation(2.0), student_loss_weight=0.1
            ),
        ],
        made,
        directory=folder,
        verbose=0,
    ),
    "mutual_learning": lambda folder, made: recipes.mutual_learning(
        [lambda: build(8), lambda: build(6)],
        replace(made, epochs=6),
        directory=folder,
        verbose=0,
    ),
    "federated": lambda folder, made: recipes.federated(
        [lambda: build(8), lambda: build(6)],
        [data(24, seed=1), data(24, seed=2)],
        data(32, seed=3)[0],
        made,
        directory=folder,
        rounds=1,
        verbose=0,
    ),
    "learn_without_forgetting": lambda folder, made: recipes.learn_without_forgetting(
        lambda classes: build(8, classes),
        tasks(),
        made,
        directory=folder,
        replay=2,
        verbose=0,
    ),
    "grow": lambda folder, made: recipes.grow(
        [lambda: build(8, depth=1), lambda: build(8, depth=2)],
        made,
        directory=folder,
        teacher=teacher(),
        verbose=0,
    ),
}
