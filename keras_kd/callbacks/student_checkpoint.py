"""Checkpoints of the student alone."""

from os import PathLike
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.layer_paths import find_layer
from keras_kd.teachers.data_free import DataFreeStudent
from keras_kd.teachers.peers import BranchedStudent, SeveralStudents


class StudentCheckpoint(keras.callbacks.ModelCheckpoint):
    """Saves `distiller.student`, a plain Keras model, at the end of epochs.

    It takes the arguments of `keras.callbacks.ModelCheckpoint`. The files hold no
    teacher, no projector and no optimizer state, and open where keras_kd is not
    installed. To resume a training, save the Distiller itself.

    Of a student that is several models in one, as a `PeerGroup`, `part` says which is
    saved; for each of the peers take a callback of its own.

    Args:
        filepath: As all up to `initial_value_threshold` in Keras's callback.
        monitor: As there.
        verbose: As there.
        save_best_only: As there.
        save_weights_only: As there.
        mode: As there: with "auto", the direction is that of the Distiller's metric of
            this name; of losses, less is better.
        save_freq: As there.
        initial_value_threshold: As there.
        part: The path of the student's part to save, as "peers[0]" of a `PeerGroup`
            or "student" of a `DataFreeStudent`. "branches[0]" of a `BranchedStudent`
            is saved with the trunk. Defaults to None: the whole student.

    Raises:
        ValueError: `part` is no path, or, when training begins, names no Keras model;
            or it is missing and the student is one of keras_kd's own models, which
            only keras_kd can open.

    Example:
    ```python
    best = keras_kd.callbacks.StudentCheckpoint(
        "student.keras", monitor="val_accuracy", save_best_only=True
    )
    distiller.fit(x, y, validation_data=(x_val, y_val), callbacks=[best])
    student = keras.saving.load_model("student.keras")
    ```
    """

    def __init__(
        self,
        filepath: str | PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
        *,
        part: str | None = None,
    ) -> None:
        if part is not None and (not isinstance(part, str) or not part):
            raise ValueError(
                '`part` must be None or the path of a part, as "peers[0]". '
                f"Received: part={part!r}"
            )
        super().__init__(
            filepath,
            monitor=monitor,
            verbose=verbose,
            save_best_only=save_best_only,
            save_weights_only=save_weights_only,
            mode=mode,
            save_freq=save_freq,
            initial_value_threshold=initial_value_threshold,
        )
        self.part = part
        self._chosen: Any = None

    mode: str

    @property
    def model(self) -> Any:
        """The model that is saved, with the values of this moment."""
        # Asked for in any case: on JAX this gives the variables their values.
        student = _student_of(super().model)
        return student if self._chosen is None else self._chosen

    def on_train_begin(self, logs: Any = None) -> None:
        student = _student_of(super().model)
        # Found once: a branch with its trunk is a new model each time.
        self._chosen = student if self.part is None else _part_of(student, self.part)
        if isinstance(self._chosen, (SeveralStudents, DataFreeStudent)):
            kind, inner = type(self._chosen).__name__, _plain_part(self._chosen)
            path = inner if self.part is None else f"{self.part}/{inner}"
            raise ValueError(
                f"`part` must name a plain Keras model: the file of a {kind} opens "
                f"only where keras_kd is installed. Received: part={self.part!r}, for "
                f'the {kind} {self._chosen.name!r}. Pass part="{path}", or save the '
                "Distiller with `keras.callbacks.ModelCheckpoint`."
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._settle_mode()
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._settle_mode()
        super().on_epoch_end(epoch, logs)

    def _settle_mode(self) -> None:
        """Ask the Distiller for the direction: the student has no metrics."""
        if self.save_best_only and self.mode == "auto":
            # Once the first batch has built the metrics, which is now.
            self.mode = _backend.direction_of(super().model, self.monitor) or "auto"


def _student_of(distiller: Any) -> Any:
    return getattr(distiller, "student", distiller)


def _part_of(student: keras.Model, path: str) -> keras.Model:
    part = find_layer(student, path, side="student")
    if isinstance(student, BranchedStudent):
        for place, branch in enumerate(student.branches):
            if branch is part:
                return student.branch(place)
    if not isinstance(part, keras.Model):
        raise ValueError(
            "`part` must be the path of a Keras model inside of the student. "
            f"Received: part={path!r}, which is a {type(part).__name__}."
        )
    return part


def _plain_part(student: keras.Model) -> str:
    if isinstance(student, DataFreeStudent):
        return "student"
    return "branches[0]" if isinstance(student, BranchedStudent) else "peers[0]"
