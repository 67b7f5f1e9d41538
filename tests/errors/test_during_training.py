"""Faults inside `fit`: in a compiled step, in a callback, in the data.

JAX empties the variables before the first step and donates their buffers to each
step: an error there would leave both models without values.
"""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd import Distiller, FeatureDistillation, LogitsDistillation
from tests.errors.malformed import (
    CROSSENTROPY,
    Use,
    X,
    Y,
    distil_eagerly,
    is_finite,
    network,
    unchanged,
)

BACKEND = keras.config.backend()
BROKEN = "the sensor is broken"


class Fault:
    """Raises after it was passed a number of times: once, or until it is mended."""

    def __init__(self, after=0, *, once=True):
        self.after = after
        self.once = once
        self.seen = 0

    def mend(self):
        self.after = float("inf")

    def __call__(self):
        self.seen += 1
        late = self.seen - self.after
        if late == 1 or (late > 1 and not self.once):
            raise RuntimeError(BROKEN)


def at_run_time(fault, x):
    """Return `x`, from an operation that raises while the compiled step runs."""

    def run(value):
        fault()
        return value

    if BACKEND == "jax":
        import jax

        stopped = jax.lax.stop_gradient(x)
        spec = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return x + 0.0 * jax.pure_callback(run, spec, stopped)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        stopped = tf.numpy_function(run, [tf.stop_gradient(x)], x.dtype)
        return x + 0.0 * tf.ensure_shape(stopped, x.shape)
    return run(x)


@keras.saving.register_keras_serializable("tests")
class FaultyLayer(layers.Layer):
    """Has a fault in training, at run time or while the step is traced."""

    def __init__(self, fault, *, traced=False, always=False, **options):
        super().__init__(**options)
        self.supports_jit = BACKEND != "tensorflow"  # XLA knows no `numpy_function`
        self.fault, self.traced, self.always = fault, traced, always

    def call(self, x, training=False):
        if self.traced and training:
            self.fault()
        elif training or self.always:
            return at_run_time(self.fault, x)
        return x


def faulty(name, fault, *, built=True, **options):
    return keras.Sequential(
        [
            *([keras.Input((4,))] if built else []),
            layers.Dense(5, activation="tanh", name="hidden"),
            layers.BatchNormalization(name="norm"),
            FaultyLayer(fault, name="faulty", **options),
            layers.Dense(3, name="logits"),
        ],
        name=name,
    )


def run_time_error():
    """Return what the backend makes of an exception inside of a compiled step."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return (tf.errors.OpError,)
    return RuntimeError, ValueError  # JAX's error is one of these, by its version


def prepare(teacher=None, student=None, losses=None, **compiling):
    """Return a Distiller that is compiled, as by default: not run eagerly."""
    teacher = teacher or network(6, name="teacher")
    student = student or network(5, name="student")
    distiller = Distiller(teacher, student, losses or LogitsDistillation())
    distiller.compile(**{"optimizer": "adam", "loss": CROSSENTROPY, **compiling})
    return distiller


def fit(distiller, data=None, **options):
    """Fit on four batches an epoch, or on a data set."""
    options = {"verbose": 0, **options}
    if data is not None:
        return distiller.fit(data, shuffle=False, **options)
    return distiller.fit(X, Y, batch_size=2, **options)


def broken(distiller, data=None, *, stays=True, fault=None, **options):
    """Return a use that fails; the same Distiller then goes on to train."""
    teacher, student = distiller.teacher, distiller.student

    def right():
        if fault is not None:
            fault.mend()
        history = fit(distiller)
        assert np.isfinite(history.history["loss"]).all()
        return distil_eagerly(teacher, student)

    return Use(
        teacher,
        student,
        lambda: fit(distiller, data, **options),
        right,
        student_stays=stays,
    )


@pytest.fixture(scope="module")
def distiller():
    """Return a Distiller that lives through many faults, compiled once."""
    distiller = prepare()
    fit(distiller)
    return distiller


def test_student_layer_that_raises_while_the_first_step_is_traced():
    student = faulty("student", Fault(), traced=True)
    broken(prepare(student=student)).check(BROKEN, RuntimeError)


def test_student_built_by_the_first_batch_that_raises_in_the_first_step():
    student = faulty("student", Fault(), traced=True, built=False)
    broken(prepare(student=student)).check(BROKEN, RuntimeError)


@pytest.mark.parametrize("after", [0, 2])
def test_student_layer_that_raises_while_a_compiled_step_runs(after):
    distiller = prepare(student=faulty("student", Fault(after)))
    use = broken(distiller, stays=not after)
    use.check(BROKEN, run_time_error())


def test_teacher_layer_that_raises_while_a_compiled_step_runs():
    teacher = faulty("teacher", Fault(3), always=True)
    broken(prepare(teacher), stays=False).check(BROKEN, run_time_error())


class FaultyLoss(LogitsDistillation):
    """Has a fault in training only, which the check of the first batch cannot see."""

    def __init__(self, fault, **options):
        super().__init__(**options)
        self.fault = fault

    def call(self, teacher, student, step):
        if step.training:
            self.fault()
        return super().call(teacher, student, step)


def test_loss_that_raises_in_training_only():
    broken(prepare(losses=FaultyLoss(Fault()))).check(BROKEN, RuntimeError)


def test_loss_beside_a_projector_that_the_first_batch_created():
    losses = [FeatureDistillation("mse", "hidden", "hidden"), FaultyLoss(Fault())]
    broken(prepare(losses=losses)).check(BROKEN, RuntimeError)


class FaultyMetric(keras.metrics.Mean):
    def __init__(self, fault):
        super().__init__(name="faulty")
        self.fault = fault

    def update_state(self, y, y_pred, sample_weight=None):
        self.fault()
        return super().update_state(y)


def test_metric_that_raises():
    # Not once: Keras tries metrics before the first step, and hides what they raise.
    fault = Fault(once=False)
    distiller = prepare(metrics=[FaultyMetric(fault)])
    broken(distiller, fault=fault).check(BROKEN, RuntimeError)


class FaultyOptimizer(keras.optimizers.SGD):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def update_step(self, gradient, variable, learning_rate):
        self.fault()
        super().update_step(gradient, variable, learning_rate)


def test_optimizer_that_raises():
    distiller = prepare(optimizer=FaultyOptimizer(Fault(1)))
    broken(distiller).check(BROKEN, RuntimeError)


class FaultyCallback(keras.callbacks.Callback):
    """Raises in the hook of a given name."""

    def __init__(self, hook, fault, error=None):
        super().__init__()

        def raises(*args, **kwargs):
            try:
                fault()
            except RuntimeError:
                if error is not None:
                    raise error from None
                raise

        setattr(self, hook, raises)


@pytest.mark.parametrize(
    "hook, after, stays",
    [
        ("on_train_begin", 0, True),
        ("on_epoch_begin", 0, True),
        ("on_epoch_begin", 1, False),
        ("on_train_batch_begin", 0, True),
        ("on_train_batch_begin", 2, False),
        ("on_train_batch_end", 0, False),
        ("on_train_batch_end", 2, False),
        ("on_test_batch_end", 1, False),
        ("on_epoch_end", 0, False),
        ("on_train_end", 0, False),
    ],
)
def test_callback_that_raises(distiller, hook, after, stays):
    callback = FaultyCallback(hook, Fault(after))
    validation = (X, Y) if "test" in hook else None
    use = broken(
        distiller,
        stays=stays,
        callbacks=[callback],
        validation_data=validation,
        epochs=2,
    )
    use.check(BROKEN, RuntimeError)


def test_an_interrupt_of_the_user(distiller):
    error = KeyboardInterrupt("ctrl-c")
    stop = FaultyCallback("on_train_batch_end", Fault(1), error)
    broken(distiller, stays=False, callbacks=[stop]).check("ctrl-c", KeyboardInterrupt)


class FaultyData(keras.utils.PyDataset):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def __len__(self):
        return 4

    def __getitem__(self, place):
        if place == 2:
            self.fault()
        return X[2 * place : 2 * place + 2], Y[2 * place : 2 * place + 2]


def generator(fault):
    for place in range(4):
        if place == 2:
            fault()
        yield X[2 * place : 2 * place + 2], Y[2 * place : 2 * place + 2]


@pytest.mark.parametrize("data", [FaultyData, generator])
def test_data_that_raise_at_the_third_batch(distiller, data):
    use = broken(distiller, data(Fault()), stays=False)
    use.check(BROKEN, (RuntimeError, *run_time_error()))


def test_a_later_batch_of_another_width(distiller):
    def batches():
        yield X[:2], Y[:2]
        yield X[:2, :3], Y[:2]

    error = (ValueError, TypeError, *run_time_error())
    use = broken(distiller, batches(), stays=False)
    use.check("(?i)shape|incompatible|structure", error)


def test_evaluation_that_raises():
    fault = Fault(once=False)
    distiller = prepare(metrics=[FaultyMetric(fault)])
    use = broken(distiller, fault=fault)
    use.wrong = lambda: distiller.evaluate(X, Y, verbose=0)
    use.check(BROKEN, RuntimeError)


def test_a_fault_in_a_later_fit_keeps_what_the_first_one_learned():
    distiller = prepare(student=faulty("student", Fault(4 + 2)))
    fit(distiller)
    with unchanged(distiller.teacher), pytest.raises(run_time_error(), match=BROKEN):
        fit(distiller)
    assert int(distiller.optimizer.iterations) >= 4
    assert is_finite(distiller.student)
    fit(distiller)
    assert int(distiller.optimizer.iterations) >= 8


def test_a_failing_first_step_is_as_if_it_had_not_been_tried():
    """Seeds, statistics and the optimizer's state included."""

    def train(fault, *, fails):
        keras.utils.set_random_seed(3)
        distiller = prepare(student=faulty("student", fault))
        if fails:
            with pytest.raises(run_time_error(), match=BROKEN):
                fit(distiller, shuffle=False)
        fit(distiller, shuffle=False)
        return distiller.student.get_weights()

    failed, smooth = train(Fault(), fails=True), train(Fault(99), fails=False)
    for ours, plain in zip(failed, smooth, strict=True):
        np.testing.assert_array_equal(ours, plain)
