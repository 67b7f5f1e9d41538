"""What a malformed use must leave behind: two models as they were, ready to go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest

import keras_kd

X = np.linspace(-1.0, 1.0, 32, dtype="float32").reshape(8, 4)
Y = np.arange(8) % 3
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(width: int, *, name: str, classes: int = 3, **options: Any) -> keras.Model:
    """Return a built classifier with statistics and seeds, which a slip would move."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width, activation="tanh", name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.1, name="drop"),
            layers.Dense(classes, name="logits", **options),
        ],
        name=name,
    )


def pair() -> tuple[keras.Model, keras.Model]:
    """Return a teacher and a student of different width."""
    return network(6, name="teacher"), network(5, name="student")


def distil(
    teacher: Any,
    student: keras.Model,
    losses: Any = None,
    x: Any = X,
    y: Any = Y,
    *,
    compiling: dict[str, Any] | None = None,
    fitting: dict[str, Any] | None = None,
    **settings: Any,
) -> keras.callbacks.History:
    """Construct, compile and fit, as a user does in three lines."""
    losses = keras_kd.LogitsDistillation() if losses is None else losses
    distiller = keras_kd.Distiller(teacher, student, losses, **settings)
    distiller.compile(**{"optimizer": "sgd", "loss": CROSSENTROPY, **(compiling or {})})
    return distiller.fit(x, y, **{"batch_size": 4, "verbose": 0, **(fitting or {})})


def distil_eagerly(
    *args: Any, compiling: dict[str, Any] | None = None, **settings: Any
) -> keras.callbacks.History:
    """Do what `distil` does without the seconds that compiling takes."""
    return distil(
        *args, compiling={"run_eagerly": True, **(compiling or {})}, **settings
    )


@dataclass
class Use:
    """A malformed use of two models, and the use that the message advises.

    Attributes:
        teacher: The teacher, or a function.
        student: The student.
        wrong: Does the malformed thing; must raise.
        right: Does it as the message advises; trains on the default batch if None.
        x: What the student takes, to see that it still predicts.
        teacher_x: What the teacher takes, where it takes something else.
        student_stays: False where the student trains for a while before the error.
    """

    teacher: Any
    student: Any
    wrong: Callable[[], Any]
    right: Callable[[], keras.callbacks.History] | None = None
    x: Any = field(default_factory=lambda: X)
    teacher_x: Any = None
    student_stays: bool = True

    def check(self, match: str, error: Any = ValueError) -> None:
        """Raise, find all as it was, and train with a fresh Distiller."""
        still = self.student if self.student_stays else None
        with unchanged(self.teacher, still), pytest.raises(error, match=match):
            self.wrong()
        assert is_finite(self.student)
        predicts(self.student, self.x)
        predicts(self.teacher, self.x if self.teacher_x is None else self.teacher_x)
        with unchanged(self.teacher):
            history = (
                self.right()
                if self.right
                else distil_eagerly(self.teacher, self.student)
            )
        assert np.isfinite(history.history["loss"]).all()
        assert is_finite(self.student)


def use(
    losses: Any,
    right: Any = None,
    *,
    teacher: Any = None,
    student: Any = None,
    x: Any = X,
    y: Any = Y,
    **settings: Any,
) -> Use:
    """Return the use of `losses` on two models; `right` are losses that fit them."""
    made = pair()
    teacher, student = teacher or made[0], student or made[1]
    return Use(
        teacher,
        student,
        lambda: distil(teacher, student, losses, x, y, **settings),
        lambda: distil_eagerly(teacher, student, right, x),
        x=x,
    )


def stack(*parts: Any, shape: Any = (4,), name: str = "model") -> keras.Model:
    """Return a built model of layers one after the other."""
    return keras.Sequential([keras.Input(shape), *parts], name=name)


class Table(list[Any]):
    """Collects functions that return a `Use`, for `pytest.mark.parametrize`."""

    def case(self, match: str, error: type[BaseException] = ValueError) -> Any:
        """Add the decorated function, with the essential words of its message."""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self.append(pytest.param(function, match, error, id=function.__name__))
            return function

        return add


@contextmanager
def unchanged(*models: Any) -> Iterator[None]:
    """Compare values, `trainable` flags and classes before and after, bit for bit.

    What a model builds in between is not compared, nor is a plain function.
    """
    compared = [model for model in models if isinstance(model, keras.layers.Layer)]
    before = [_state(model) for model in compared]
    yield
    for model, (values, flags) in zip(compared, before, strict=True):
        values_now, flags_now = _state(model)
        for key, value in values.items():
            np.testing.assert_array_equal(values_now[key], value, err_msg=str(key))
        assert {key: flags_now[key] for key in flags} == flags


def _state(model: keras.layers.Layer) -> tuple[dict[Any, Any], dict[Any, Any]]:
    values: dict[Any, Any] = {}
    flags: dict[Any, Any] = {}
    for variable in model.variables:  # seeds and statistics are among them
        values[variable.path, id(variable)] = np.array(
            keras.ops.convert_to_numpy(variable.value)
        )
        flags[variable.path, id(variable)] = variable.trainable
    for layer in model._flatten_layers():
        flags[layer.name, id(layer)] = (type(layer), layer.trainable)
    return values, flags


def is_finite(model: Any) -> bool:
    """Say whether all values of a model are there and finite."""
    return all(
        np.isfinite(keras.ops.convert_to_numpy(variable.value)).all()
        for variable in getattr(model, "weights", [])
    )


def predicts(model: Any, x: Any) -> None:
    """Call `predict` of a built model, without compiling, which takes most time."""
    if isinstance(model, keras.Model) and model.built:
        model.run_eagerly = True
        model.predict(x, verbose=0)
