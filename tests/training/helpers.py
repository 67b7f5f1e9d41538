"""Small models, small data, and what a step must give for them, by hand in NumPy."""

from typing import Any

import keras
import numpy as np

import keras_kd

BACKEND = keras.config.backend()
FEATURES, CLASSES = 4, 3
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(rows: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features and integer labels."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, FEATURES)).astype("float32")
    return x, random.integers(0, CLASSES, size=rows).astype("int32")


def classifier(width: int = 5, name: str = "classifier", **kwargs: Any) -> keras.Model:
    """Return a built classifier with a hidden layer named "hidden"."""
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(width, activation="tanh", name="hidden", **kwargs),
            keras.layers.Dense(CLASSES, name="logits", **kwargs),
        ],
        name=name,
    )


def pair() -> tuple[keras.Model, keras.Model]:
    """Return a teacher and a student of different width."""
    return classifier(7, name="teacher"), classifier(5, name="student")


def copy_of(model: keras.Model) -> keras.Model:
    """Return a model with the same architecture and weights."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def values_of(variables: Any) -> list[np.ndarray]:
    """Return copies of the values of variables."""
    return [
        np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables
    ]


def assert_same(left: Any, right: Any, **tolerance: float) -> None:
    """Check two lists of arrays: bit for bit where no tolerance is given."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        if tolerance:
            np.testing.assert_allclose(one, other, **tolerance)
        else:
            np.testing.assert_array_equal(one, other)


def outputs(model: Any, x: Any) -> np.ndarray:
    """Return the outputs of a model with one output, in float64."""
    y = keras.ops.cast(model(x, training=False), "float32")
    return keras.ops.convert_to_numpy(y).astype("float64")


def log_softmax(logits: Any) -> np.ndarray:
    logits = np.asarray(logits, "float64")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def soft_targets(teacher: Any, student: Any, temperature: float) -> np.ndarray:
    """Return T² · KL(softmax(t / T) ‖ softmax(s / T)) of each example or token."""
    log_p = log_softmax(np.asarray(teacher) / temperature)
    log_q = log_softmax(np.asarray(student) / temperature)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def crossentropy(labels: Any, logits: Any) -> np.ndarray:
    """Return the task loss of each example or token."""
    picked = np.take_along_axis(log_softmax(logits), np.asarray(labels)[..., None], -1)
    return -picked[..., 0]


def linear(start: float, end: float, steps: int = 4) -> Any:
    """Return a schedule that goes from `start` to `end` in a straight line."""
    return keras.optimizers.schedules.PolynomialDecay(start, steps, end, power=1.0)


def compiled(distiller: Any, rate: float = 0.0, **kwargs: Any) -> Any:
    """Compile with plain SGD and the task loss; at rate 0 the weights stay."""
    kwargs.setdefault("loss", CROSSENTROPY)
    kwargs.setdefault("optimizer", keras.optimizers.SGD(rate))
    distiller.compile(**kwargs)
    return distiller


def fit_steps(distiller: Any, x: Any, y: Any = None, steps: int = 1, **kwargs: Any):
    """Train `steps` epochs of one step each; return the history, one entry a step."""
    kwargs.setdefault("batch_size", len(keras.tree.flatten(x)[0]))
    return distiller.fit(x, y, epochs=steps, verbose=0, **kwargs).history


def distil(
    teacher: Any, student: Any, losses: Any = None, rate: float = 0.0, **kwargs: Any
) -> Any:
    """Return a compiled Distiller, with soft targets where no losses are given."""
    losses = keras_kd.LogitsDistillation(2.0) if losses is None else losses
    distiller = keras_kd.Distiller(teacher, student, losses, **kwargs)
    return compiled(distiller, rate)


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Counted(keras.layers.Layer):
    """Passes its input through and counts how often Python runs its call."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calls = 0

    def call(self, x: Any) -> Any:
        self.calls += 1
        return x + 0.0


def counted_classifier(width: int = 5) -> tuple[keras.Model, Counted]:
    """Return a classifier and the layer in it that counts the forward passes."""
    counter = Counted()
    x = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(width, activation="tanh", name="hidden")(counter(x))
    model = keras.Model(x, keras.layers.Dense(CLASSES, name="logits")(hidden))
    counter.calls = 0
    return model, counter


class EachStep(keras.callbacks.Callback):
    """Keeps the values of each step of an epoch, and acts after some of them.

    Keras's logs hold the mean since the epoch began, over batches of one size here.
    """

    def __init__(self, actions: Any = ()) -> None:
        super().__init__()
        self.actions = list(actions)
        self.means: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.means.append({key: float(value) for key, value in logs.items()})
        if batch < len(self.actions):
            self.actions[batch]()

    def values(self, key: str) -> np.ndarray:
        """Return the value of `key` at each step."""
        sums = [mean[key] * (n + 1) for n, mean in enumerate(self.means)]
        return np.diff([0.0, *sums])


@keras.saving.register_keras_serializable(package="keras_kd_tests")
class Subclassed(keras.Model):
    """A model of a class of one's own: two of it have variables of the same paths."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(5, "tanh", name="hidden")
        self.logits = keras.layers.Dense(CLASSES, name="logits")

    def call(self, x: Any) -> Any:
        return self.logits(self.hidden(x))


class KeptWeights(keras.callbacks.Callback):
    """Keeps the student's and the teacher's weights, whenever a subclass says so."""

    def __init__(self) -> None:
        super().__init__()
        self.student: list[list[np.ndarray]] = []
        self.teacher: list[list[np.ndarray]] = []

    def keep(self) -> None:
        """Keep those of this moment."""
        distiller = self.model
        self.student.append(values_of(distiller.student.weights))
        self.teacher.append(values_of(distiller.teacher.model.weights))
