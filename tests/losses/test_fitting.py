"""Every registered method, alone, through compiled `fit` on real images.

The excess of a method is its value above that of a student that could not be better:
a copy of the teacher, for which only the layers of the loss (projectors, exits, memory)
train, as long as the student did. It must halve.
"""

import functools
import math
import sys

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import keras_kd
from keras_kd import losses

COUNT, EPOCHS, BATCH = 256, 24, 64
# Those with maps that the student must first learn through.
LONGER = {"cwd": 48, "simkd": 72}
STAGES = ["stage_1", "stage_2"]
NORMALIZED = ["normalized_1", "normalized_2"]
# Transformers, several teachers, peers, a student by itself and generated inputs have
# tests of their own.
KINDS = ("outputs", "feature", "stages", "exits", "nothing")
METHODS = [n for n, m in losses.methods().items() if m.signals in KINDS]
ON_EMBEDDINGS = ("rkd", "pkt", "cc", "crd", "itrd", "srd", "vkd")
# Of a weighted logarithm, the distance inside must halve.
LOGARITHMS = {"srd": 1.0, "itrd": 2.0 / math.log(2.0)}
# Divergences whose best student is not the teacher; their least value is 0.
FROM_ZERO = ("simkd", "tf_kd", "ttm", "wttm")


@functools.cache
def digits():
    x, y = load_digits(return_X_y=True)
    x = x[:COUNT].reshape(-1, 8, 8, 1).astype("float32") / 8 - 1
    return {"image": x, "sample_id": np.arange(COUNT)}, y[:COUNT]


def images(x):
    return x["image"]


def convnet(width, name):
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1))
    for stage in (1, 2):
        x = layers.Conv2D(width * stage, 3, strides=stage, padding="same")(x)
        x = layers.BatchNormalization(momentum=0.8, name=f"normalized_{stage}")(x)
        x = layers.ReLU(name=f"stage_{stage}")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name=name)


@functools.cache
def teacher_weights():
    keras.utils.set_random_seed(0)
    teacher = convnet(16, "teacher")
    x, y = digits()
    teacher.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True)
    )
    teacher.fit(x["image"], y, batch_size=BATCH, epochs=12, verbose=0)
    return teacher.get_weights()


def teacher(name="teacher"):
    model = convnet(16, name)
    model.set_weights(teacher_weights())
    return model


def loss_for(name):
    signals, arguments = losses.methods()[name].signals, {}
    layer = "embedding" if name in ON_EMBEDDINGS else "stage_2"
    if signals == "feature":
        arguments = {"teacher_layer_name": layer, "student_layer_name": layer}
    elif signals == "stages":
        stages = NORMALIZED if name == "ofd" else STAGES
        arguments = {"teacher_layer_names": stages, "student_layer_names": stages}
    elif signals == "exits":
        arguments = {"student_layer_names": STAGES}
    if name == "crd":
        arguments |= {"num_examples": COUNT, "negatives": 64, "size": 16, "seed": 0}
    if name == "simkd":
        arguments["student_layer_name"] = "reused_features"
    return losses.get(name, **arguments)


def fitted(name, student):
    """Return the values of the loss before and after training."""
    method, loss = losses.methods()[name], loss_for(name)
    distiller = keras_kd.Distiller(
        None if method.signals == "nothing" else teacher(),
        student,
        loss,
        student_loss_weight=0.0,
        distillation_weight=1.0,
        student_inputs=images,
        **({} if method.signals == "nothing" else {"teacher_inputs": images}),
    )
    distiller.compile(keras.optimizers.Adam(0.01), None)
    x, y = digits()

    def value():
        found = distiller.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
        value = found[loss.name]
        return math.exp(value / LOGARITHMS[name]) if name in LOGARITHMS else value

    before = value()
    if distiller.trainable_variables:
        distiller.fit(
            x, y, batch_size=BATCH, epochs=LONGER.get(name, EPOCHS), verbose=0
        )
    return before, value()


def best_possible(name):
    """Return the value that a copy of the teacher reaches."""
    if name in FROM_ZERO:
        return 0.0
    keras.utils.set_random_seed(1)
    copy = teacher("student")
    copy.trainable = False
    return fitted(name, copy)[1]


def excess_left(name):
    keras.utils.set_random_seed(1)
    student = convnet(8, "student")
    if name == "simkd":
        student, _ = keras_kd.recipes.reuse_classifier(
            student, teacher(), "stage_2", "stage_2"
        )
    before, after = fitted(name, student)
    best = best_possible(name)
    return (after - best) / (before - best)


# A loss on features alone leaves the classifier without gradients.
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("name", METHODS)
def test_method_halves_its_excess(name):
    """A method that does not train is a name in a list."""
    left = excess_left(name)
    assert left < 0.5, f"{name}: {left:.3f} of the excess is left"


if __name__ == "__main__":  # the figures
    for each in sys.argv[1:] or METHODS:
        print(f"{each} {excess_left(each):.3f}", flush=True)
