"""Checkpoints of the student alone."""

from typing import Any

import keras


class StudentCheckpoint(keras.callbacks.ModelCheckpoint):
    """Saves `distiller.student`, a plain Keras model, at the end of epochs.

    It takes the arguments of `keras.callbacks.ModelCheckpoint`. The files hold no
    teacher, no projector and no optimizer state, and open where keras_kd is not
    installed. To resume a training, save the Distiller itself.

    Example:
    ```python
    best = keras_kd.callbacks.StudentCheckpoint(
        "student.keras", monitor="val_accuracy", save_best_only=True
    )
    distiller.fit(x, y, validation_data=(x_val, y_val), callbacks=[best])
    student = keras.saving.load_model("student.keras")
    ```
    """

    @property
    def model(self) -> Any:
        """The model that is saved: the student, with the values of this moment."""
        distiller = super().model
        return getattr(distiller, "student", distiller)
