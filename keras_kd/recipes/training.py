"""How each stage of a recipe trains, and what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_kd.data import ShuffledBatches


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
        callbacks: A function that returns new callbacks for a stage, or None. What
            they remember is lost where a stage is resumed.
        seed: Seed of weights, order and dropout; each stage has its own that follows
            from it. Defaults to 0.

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
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.compile):
            raise ValueError(
                "`compile` must be a function of a model that calls its `compile`. "
                f"Received: compile={self.compile!r}"
            )
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"`{name}` must be an integer of at least {least}. "
                    f"Received: {name}={value!r}"
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
