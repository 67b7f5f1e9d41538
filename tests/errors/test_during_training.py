"""Faults inside `fit`: in a compiled step, in a callback, in the data.

JAX empties the variables before the first step and donates their buffers to each
step: an error there would leave both models without values.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_kd import Distiller, FeatureDistillation, LogitsDistillation
from tests.errors.malformed import (
    CROSSENTROPY,
    Use,
    X,
    Y,
    distil_eagerly,
    network,
)

BACKEND = keras.config.backend()


class Fault:
    """Raises at a given moment, until it is mended."""

    def __init__(self, at=0):
        self.at = at
        self.seen = 0
        self.mended = False

    def __call__(self):
        self.seen += 1
        if not self.mended and self.seen > self.at:
            raise RuntimeError("the sensor is broken")


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

        return tf.errors.OpError
    return RuntimeError  # JAX's is a subclass of it


def broken(fault, teacher=None, student=None, losses=None, *, x=X, y=Y, **settings):
    """Return a use whose fault is mended before the same Distiller goes on."""
    settings = {"compiling": {}, "fitting": {}, "stays": True, **settings}
    teacher = teacher or network(6, name="teacher")
    student = student or network(5, name="student")
    distiller = Distiller(teacher, student, losses or LogitsDistillation())
    distiller.compile(
        **{"optimizer": "adam", "loss": CROSSENTROPY, **settings["compiling"]}
    )
    fitting = {"batch_size": 2, "verbose": 0, "epochs": 2, **settings["fitting"]}

    def right():
        fault.mended = True
        history = distiller.fit(X, Y, **fitting)
        assert np.isfinite(history.history["loss"]).all()
        return distil_eagerly(teacher, student)

    return Use(
        teacher,
        student,
        lambda: distiller.fit(x() if callable(x) else x, y, **fitting),
        right,
        student_stays=settings["stays"],
    )


BROKEN = "the sensor is broken"


def test_student_layer_that_raises_while_the_first_step_is_traced():
    fault = Fault()
    student = faulty("student", fault, traced=True)
    broken(fault, student=student).check(BROKEN, RuntimeError)


def test_student_built_by_the_first_batch_that_raises_in_the_first_step():
    fault = Fault()
    student = faulty("student", fault, traced=True, built=False)
    broken(fault, student=student).check(BROKEN, RuntimeError)


@pytest.mark.parametrize("after", [0, 2])
def test_student_layer_that_raises_while_a_compiled_step_runs(after):
    fault = Fault(after)
    use = broken(fault, student=faulty("student", fault), stays=not after)
    use.check(BROKEN, run_time_error())


def test_teacher_layer_that_raises_while_a_compiled_step_runs():
    fault = Fault(4)
    teacher = faulty("teacher", fault, always=True)
    broken(fault, teacher, stays=False).check(BROKEN, run_time_error())


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
    fault = Fault()
    loss = FaultyLoss(fault)
    broken(fault, losses=loss).check(BROKEN, RuntimeError)


def test_loss_beside_a_projector_that_the_first_batch_created():
    fault = Fault()
    losses = [FeatureDistillation("mse", "hidden", "hidden"), FaultyLoss(fault)]
    broken(fault, losses=losses).check(BROKEN, RuntimeError)


class FaultyMetric(keras.metrics.Mean):
    def __init__(self, fault):
        super().__init__(name="faulty")
        self.fault = fault

    def update_state(self, y, y_pred, sample_weight=None):
        self.fault()
        return super().update_state(y)


def test_metric_that_raises():
    fault = Fault()
    use = broken(fault, compiling={"metrics": [FaultyMetric(fault)]})
    use.check(BROKEN, RuntimeError)


class FaultyOptimizer(keras.optimizers.SGD):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def update_step(self, gradient, variable, learning_rate):
        self.fault()
        super().update_step(gradient, variable, learning_rate)


def test_optimizer_that_raises():
    fault = Fault()
    use = broken(fault, compiling={"optimizer": FaultyOptimizer(fault)})
    use.check(BROKEN, RuntimeError)


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
def test_callback_that_raises(hook, after, stays):
    fault = Fault(after)
    fitting = {"callbacks": [FaultyCallback(hook, fault)]}
    if "test" in hook:
        fitting["validation_data"] = (X, Y)
    broken(fault, fitting=fitting, stays=stays).check(BROKEN, RuntimeError)


def test_an_interrupt_of_the_user():
    fault = Fault(1)
    stop = FaultyCallback("on_train_batch_end", fault, KeyboardInterrupt("ctrl-c"))
    use = broken(fault, fitting={"callbacks": [stop]}, stays=False)
    use.check("ctrl-c", KeyboardInterrupt)


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
def test_data_that_raise_at_the_third_batch(data):
    fault = Fault()
    fitting = {"batch_size": None}
    use = broken(fault, x=lambda: data(fault), y=None, fitting=fitting, stays=False)
    use.check(BROKEN, RuntimeError)


def test_a_later_batch_of_another_width():
    def batches():
        yield X[:2], Y[:2]
        yield X[:2, :3], Y[:2]

    use = broken(Fault(), x=batches, y=None, fitting={"batch_size": None}, stays=False)
    use.check("(?i)shape|incompatible|structure", Exception)


def test_evaluation_that_raises():
    fault = Fault()
    teacher, student = network(6, name="teacher"), network(5, name="student")
    distiller = Distiller(teacher, student, LogitsDistillation())
    distiller.compile("adam", CROSSENTROPY, metrics=[FaultyMetric(fault)])

    def right():
        fault.mended = True
        distiller.evaluate(X, Y, verbose=0)
        return distiller.fit(X, Y, verbose=0)

    use = Use(teacher, student, lambda: distiller.evaluate(X, Y, verbose=0), right)
    use.check(BROKEN, RuntimeError)


def test_a_fault_after_a_good_fit_loses_nothing_of_it():
    """The optimizer's state of the first `fit` survives the error of the second."""
    fault = Fault(10**6)
    use = broken(fault, student=faulty("student", fault, traced=True))
    distiller_fit = use.wrong
    distiller_fit()
    fault.at = 0
    distiller = use.wrong.__closure__
    del distiller
    use.check(BROKEN, RuntimeError)


_ = ops
