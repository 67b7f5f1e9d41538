"""Projectors of the user's own, which may change more than the width."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd
from keras_kd import losses
from tests.training.helpers import CROSSENTROPY


def spec(*shape):
    return keras.KerasTensor((None, *shape))


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def to_map():
    return keras.Sequential([layers.Dense(12), layers.Reshape((2, 2, 3))])


# The projector, the teacher's shape, the student's shape.
FITTING = {
    "longer_sequence": (lambda: layers.UpSampling1D(2), (6, 4), (3, 4)),
    "vector_to_map": (to_map, (2, 2, 3), (5,)),
    "map_to_vector": (layers.GlobalAveragePooling2D, (4,), (6, 6, 4)),
    "other_width": (lambda: layers.Dense(4), (3, 4), (3, 5)),
    "map_of_another_size": (lambda: layers.Conv2D(4, 1), (2, 2, 4), (6, 6, 5)),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_counts_is_what_the_projector_makes(name):
    """A projector is there to make fit what does not."""
    make, of_teacher, of_student = FITTING[name]
    loss = losses.FeatureDistillation("mse", projector=make())
    loss.build(spec(*of_teacher), spec(*of_student))
    teacher, student = drawn(0, 2, *of_teacher), drawn(1, 2, *of_student)
    made = ops.convert_to_numpy(loss.layers[0](student))
    if made.shape[1] > of_teacher[0] and len(of_teacher) == 3:  # averaged down
        made = made.reshape((2, 2, 3, 2, 3, 4)).mean(axis=(2, 4))
    values = loss.call(
        ops.convert_to_tensor(teacher),
        ops.convert_to_tensor(student),
        keras_kd.StepContext(),
    )
    wanted = np.square(teacher - made).mean(axis=-1)
    np.testing.assert_allclose(
        ops.convert_to_numpy(values), wanted, rtol=1e-4, atol=1e-6
    )


UNFIT = {
    "width": (lambda: layers.Dense(7), (3, 4), (3, 5)),
    "length": (lambda: layers.UpSampling1D(2), (5, 4), (3, 4)),
    "rank": (layers.Flatten, (3, 4), (3, 4)),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_projector_to_another_shape_is_refused(name):
    """Broadcasting would compare what does not belong together."""
    make, of_teacher, of_student = UNFIT[name]
    loss = losses.FeatureDistillation("mse", projector=make())
    with pytest.raises(ValueError, match=r"(?s)`projector` must map.*teacher's shape"):
        loss.build(spec(*of_teacher), spec(*of_student))


def test_a_projector_of_sequences_trains():
    """The first batch, the compiled step and the gradient must take it, too."""
    student = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Conv1D(4, 3, 2, padding="same", name="seen"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )
    teacher = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Dense(4, name="seen"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3),
        ]
    )
    projector = keras.Sequential([layers.UpSampling1D(2), layers.Dense(4)])
    loss = losses.FeatureDistillation("mse", "seen", "seen", projector=projector)
    distiller = keras_kd.Distiller(teacher, student, loss)
    distiller.compile(keras.optimizers.SGD(0.3), CROSSENTROPY)
    x, y = drawn(0, 8, 6, 3), np.arange(8) % 3
    log = distiller.fit(x, y, batch_size=8, epochs=3, verbose=0).history
    assert log[loss.name][-1] < log[loss.name][0]
