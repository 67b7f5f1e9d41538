"""How each stage of a recipe trains, and what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_kd.data import ShuffledBatches
from keras_kd.recipes.description import is_array


@dataclass(frozen=True)
class Training:
    """What all stages of a recipe share: data, length, and how to compile.

    Args:
        x: The inputs, arrays; or a function of the epoch that a stage starts at to a
            data set, for data that come otherwise.
        y: The labels, arrays, or None.
        compile: A function of a model that calls its `compile`: each stage needs an
            optimizer of its own. A `Distiller` takes the same arguments.
        epochs: Number of epochs of a stage, at least 1. Defaults to 10.
        batch_size: Number of examples of a batch. Defaults to 32.
        sample_weight: The weights, arrays, or None.
        validation_data: As in `keras.Model.fit`, or None.
        callbacks: A function that returns new callbacks for a stage, or None. Where a
            stage is resumed they get back what they remember as numbers, strings,
            arrays, and lists and dicts of these, as Keras's own do.
        class_weight: As in `keras.Model.fit`, or None.
        seed: Seed of weights, order and dropout, from 0 to 2³¹ − 1; each stage has its
            own that follows from it. Defaults to 0.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> training = Training(
    ...     np.ones((8, 4)),
    ...     np.zeros(8, "int32"),
    ...     compile=lambda model: model.compile(
    ...         "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ...     ),
    ...     epochs=3,
    ... )
    >>> training.epochs
    3
    """

    x: Any
    y: Any = None
    compile: Callable[[Any], None] = field(kw_only=True)
    epochs: int = field(default=10, kw_only=True)
    batch_size: int = field(default=32, kw_only=True)
    sample_weight: Any = field(default=None, kw_only=True)
    validation_data: Any = field(default=None, kw_only=True)
    callbacks: Callable[[], Sequence[Any]] | None = field(default=None, kw_only=True)
    class_weight: dict[int, float] | None = field(default=None, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.compile):
            raise ValueError(
                "`compile` must be a function of a model that calls its `compile`. "
                f"Received: compile={self.compile!r}"
            )
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            check_count(name, value, least)
            if value >= 2**31:
                raise ValueError(
                    f"`{name}` must be below 2**31. Received: {name}={value!r}"
                )
        arrays = keras.tree.flatten(self.x)
        if not callable(self.x) and not (arrays and all(map(is_array, arrays))):
            raise ValueError(
                "`x` must be an array, a structure of arrays, or a function of the "
                f"epoch to a data set. Received: x of type {type(self.x).__name__}. "
                "Pass a data set as `lambda epoch: data_set`."
            )
        if self.callbacks is not None and not callable(self.callbacks):
            raise ValueError(
                "`callbacks` must be None or a function that returns new callbacks: "
                f"each stage needs its own. Received: callbacks={self.callbacks!r}"
            )

    def data(self, seed: int, epoch: int) -> Any:
        """Return the batches of a stage from an epoch on."""
        if callable(self.x):
            return self.x(epoch)
        return ShuffledBatches(
            self.x,
            self.y,
            self.batch_size,
            seed=seed,
            epoch=epoch,
            sample_weight=self.sample_weight,
        )


@dataclass
class Stage:
    """What one stage of a recipe has produced.

    Attributes:
        name: Its name, that of its folder too.
        student: The trained student, a plain Keras model.
        history: The logs, a list with one number per epoch for each name.
    """

    name: str
    student: keras.Model
    history: dict[str, list[float]]


def check_count(name: str, value: Any, least: int) -> None:
    """Raise where a value is no integer of at least `least`.

    Raises:
        ValueError: It is not.
    """
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. Received: "
            f"{name}={value!r}"
        )


def check_own_data(training: Training, *names: str) -> None:
    """Raise where a training holds data that a recipe has from elsewhere.

    Raises:
        ValueError: It does.
    """
    for name in names:
        if getattr(training, name) is not None:
            raise ValueError(
                f"`training.{name}` must be None: the recipe's stages have data of "
                f"their own. Received: {name} of type "
                f"{type(getattr(training, name)).__name__}."
            )
