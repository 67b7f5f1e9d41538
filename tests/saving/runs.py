"""A training with everything in it that a resumed training could lose."""

import keras
import numpy as np
from keras import layers
from keras.optimizers import schedules

import keras_kd

EPOCHS, STOP = 6, 3
# On torch Keras draws the masks of a Dropout without a seed from the generator of the
# process, which is no part of a model.
SEED = 5 if keras.config.backend() == "torch" else None


class Shuffled(keras.utils.PyDataset):
    """Three batches of images whose order follows from the epoch alone."""

    def __init__(self, epoch=0):
        super().__init__()
        self.epoch = epoch
        rng = np.random.default_rng(3)
        self.x = rng.normal(size=(24, 8, 8, 2)).astype("float32")
        self.y = rng.integers(0, 3, size=24)

    def __len__(self):
        return 3

    def __getitem__(self, place):
        order = np.random.default_rng([7, self.epoch]).permutation(24)
        chosen = order[8 * place : 8 * place + 8]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        self.epoch += 1


@keras.saving.register_keras_serializable(package="tests_saving")
def halved(x):
    return 0.5 * x


@keras.saving.register_keras_serializable(package="tests_saving")
class Called(keras.Model):
    """A model that has no weights before its first call."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.features = layers.Conv2D(6, 3, padding="same", name="features")
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(units)

    def call(self, x):
        return self.head(self.pool(self.features(x)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Unserialisable(keras.Model):
    """A model whose class forgot `get_config`."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def call(self, x):
        return self.body(x)


def make_teacher():
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(name="features")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3)(x), name="teacher")


def make_student():
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2")(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(name="features")(x)
    x = layers.Dropout(0.3, seed=SEED)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2, seed=SEED)(x)
    return keras.Model(inputs, layers.Dense(3)(x), name="student")


def make_distiller(teacher=None, student=None, **kwargs):
    """Return a compiled Distiller, the same one each time."""
    distiller = keras_kd.Distiller(
        teacher or make_teacher(),
        student or make_student(),
        [
            keras_kd.LogitsDistillation(schedules.ExponentialDecay(4.0, 5, 0.8)),
            keras_kd.FeatureDistillation("mse", "features", "features"),
            keras_kd.AttentionTransfer("features", "features"),
        ],
        [1.0, schedules.PolynomialDecay(0.5, 15, 0.1), 10.0],
        schedules.PiecewiseConstantDecay([4, 11], [0.2, 0.5, 0.7]),
        student_inputs=halved,
        **kwargs,
    )
    keras.utils.set_random_seed(4)
    distiller.compile(
        keras.optimizers.Adam(schedules.CosineDecay(0.02, 20)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return distiller


def fit(distiller, start=0, stop=EPOCHS, callbacks=(), data=None):
    """Train from epoch to epoch, and return the history."""
    return distiller.fit(
        Shuffled(start) if data is None else data,
        initial_epoch=start,
        epochs=stop,
        shuffle=False,  # the data shuffles itself
        verbose=0,
        callbacks=list(callbacks),
    ).history


def state_of(distiller):
    """Return everything that the training carries from step to step."""
    student = {id(variable) for variable in distiller.student.variables}
    parts = {
        "student": distiller.student.variables,
        "projectors": [
            variable for variable in distiller.variables if id(variable) not in student
        ],
        "optimizer": distiller.optimizer.variables,
        "teacher": distiller.teacher.weights,
    }
    return {
        f"{part}_{place}": keras.ops.convert_to_numpy(variable)
        for part, variables in parts.items()
        for place, variable in enumerate(variables)
    }


def assert_same_state(got, wanted):
    """Fail where one array differs in one bit."""
    assert set(got) == set(wanted)
    different = [key for key in wanted if not np.array_equal(got[key], wanted[key])]
    assert not different, f"these differ: {different}"
