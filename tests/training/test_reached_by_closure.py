"""What only a closure reaches is fed to the compiled step all the same."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd
from tests.training.helpers import classifier, data


def distiller_of(how, inner, student):
    teacher, options = inner, {}
    if how == "function":
        teacher = lambda x: 2.0 * inner(x, training=False)  # noqa: E731
    elif how == "teacher_inputs":
        teacher = classifier(3)
        scale = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        inner = scale
        options["teacher_inputs"] = lambda x: scale(x)
    elif how == "student_inputs":
        scale = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        inner = scale
        options["student_inputs"] = lambda x: scale(x)
    distiller = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(1.0, "mse"), **options
    )
    distiller.compile(keras.optimizers.SGD(0.0))
    return distiller, inner


@pytest.mark.parametrize("how", ["function", "teacher_inputs", "student_inputs"])
def test_new_weights_are_seen_by_the_compiled_step(how):
    """Frozen into the program, the old weights would teach on, without a word."""
    x, _ = data(8)
    distiller, inner = distiller_of(how, classifier(6), classifier(5))
    run = lambda: distiller.fit(x, batch_size=8, verbose=0).history["loss"][0]  # noqa: E731
    before = run()
    inner.set_weights([3.0 * weight for weight in inner.get_weights()])
    after = run()
    teacher, given = distiller.teacher, x
    if how == "teacher_inputs":
        given = inner(x)
    wanted = ops.convert_to_numpy(teacher(given))
    taught = inner(x) if how == "student_inputs" else x
    got = ops.convert_to_numpy(distiller.student(taught))
    assert after == pytest.approx(0.5 * np.square(wanted - got).mean(), rel=1e-4)
    assert abs(after - before) > 1e-3
    logs = distiller.evaluate(x, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(after, rel=1e-5)
