"""A student that keeps the teacher's classifier."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd.recipes import reuse_classifier

CLASSES = 3


def convnet(width, name, flatten=False):
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, strides=2, padding="same")(x)
    x = layers.ReLU(name="last")(x)
    pool = layers.Flatten() if flatten else layers.GlobalAveragePooling2D(name="pool")
    x = layers.Dense(8, activation="relu", name="hidden")(pool(x))
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name=name)


def data(count=32):
    x = np.random.default_rng(0).normal(size=(count, 8, 8, 1)).astype("float32")
    return x, np.arange(count) % CLASSES


def array(x):
    return ops.convert_to_numpy(x)


@pytest.mark.parametrize("layer", ["last", "hidden"])
@pytest.mark.parametrize("flatten", [False, True])
def test_equal_features_give_equal_logits(layer, flatten):
    """The promise of the method: with the teacher's features come its logits."""
    teacher = convnet(6, "teacher", flatten)
    student, loss = reuse_classifier(convnet(4, "student"), teacher, layer, layer)
    wanted = keras.Model(teacher.input, teacher.get_layer(layer).output)
    x, _ = data()
    features = wanted(x)
    found = student.layers[-1](features)
    np.testing.assert_allclose(array(found), array(teacher(x)), rtol=1e-5, atol=1e-6)
    assert loss.student_layer_name == "reused_features"


def test_only_the_features_learn_and_the_teacher_stays(tmp_path):
    """A classifier that moved would no longer be the teacher's."""
    keras.utils.set_random_seed(0)
    teacher, plain = convnet(6, "teacher"), convnet(4, "student")
    student, loss = reuse_classifier(plain, teacher, "last", "last")
    before = [teacher.get_weights(), student.layers[-1].get_weights()]
    assert not student.layers[-1].trainable_weights
    distiller = keras_kd.Distiller(teacher, student, loss, student_loss_weight=0.0)
    distiller.compile(keras.optimizers.Adam(0.02), None)
    x, _ = data()
    log = distiller.fit(x, epochs=60, batch_size=8, verbose=0).history
    assert log["feature_distillation"][-1] < 0.5 * log["feature_distillation"][0]
    after = [teacher.get_weights(), student.layers[-1].get_weights()]
    for old, new in zip(sum(before, []), sum(after, []), strict=True):
        np.testing.assert_array_equal(new, old)
    student.save(tmp_path / "student.keras")
    again = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(array(again(x)), array(student(x)))
    kinds = {type(layer).__module__.split(".")[0] for layer in again.layers}
    assert kinds == {"keras"}  # opens where keras_kd is not installed


def test_sequential_models_can_be_cut():
    """Most small models are Sequential."""

    def model(width):
        return keras.Sequential(
            [
                keras.Input((5,)),
                layers.Dense(width, activation="relu", name="last"),
                layers.Dense(CLASSES),
            ]
        )

    student, _ = reuse_classifier(model(4), model(6), "last", "last", bottleneck=3)
    assert student.output_shape == (None, CLASSES)
    assert student(np.ones((2, 5), "float32")).shape == (2, CLASSES)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = layers.Dense(4)

    def call(self, x):
        return self.last(x)


def test_what_cannot_be_cut_is_named():
    """A subclassed model has no graph; the error must say which model it is."""
    made = Subclassed()
    made(np.ones((1, 5)))
    with pytest.raises(ValueError, match="`student` must be a Functional model.*last"):
        reuse_classifier(made, convnet(4, "teacher"), "last", "last")
    with pytest.raises(ValueError, match="both give images or both give vectors"):
        reuse_classifier(convnet(4, "s"), convnet(4, "t"), "pool", "last")
    with pytest.raises(ValueError, match="`bottleneck` must be a positive integer"):
        reuse_classifier(convnet(4, "s"), convnet(4, "t"), "last", "last", bottleneck=0)
    with pytest.raises(ValueError, match="No layer 'missing' in the teacher"):
        reuse_classifier(convnet(4, "s"), convnet(4, "t"), "last", "missing")
