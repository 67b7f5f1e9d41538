"""What is trained: the base of all students."""

from typing import Any

import keras

from keras_kd.signals.layer_paths import find_layer


class Student:
    """Base class of what a Distiller trains, where that is more than one plain model.

    Derive from it and from `keras.Model`, the model first, to say how labels and
    metrics are shared among what trains, and what of it is used in the end. A plain
    Keras model needs none of this: the Distiller wraps it.
    """

    def network(self) -> keras.Model:
        """Return the Keras model that the Distiller calls and trains."""
        return self

    def share_labels(self, y: Any) -> Any:
        """Return the labels in the structure of the outputs.

        Args:
            y: The labels of a batch, as the data set gives them, or None.
        """
        return y

    def share_metrics(self, metrics: Any) -> Any:
        """Return the metrics in the form that `keras.Model.compile` takes for it.

        Args:
            metrics: What the user gave to `Distiller.compile`, or None.
        """
        return metrics

    def plain_part(self, path: str | None) -> keras.Model | None:
        """Return the plain Keras model at a path inside of the student.

        Args:
            path: As "peers[0]"; None for the whole student.

        Returns:
            A model whose file opens where keras_kd is not installed, or None where
            what stands there needs keras_kd.
        """
        if path is None:
            return None
        part = find_layer(self.network(), path, side="student")
        return part if isinstance(part, keras.Model) else None

    @property
    def plain_paths(self) -> list[str]:
        """The paths that `plain_part` takes."""
        return []


class ModelStudent(Student):
    """A plain Keras model, as it is.

    Args:
        model: The model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def network(self) -> keras.Model:
        return self._model

    def plain_part(self, path: str | None) -> keras.Model | None:
        return self._model if path is None else super().plain_part(path)


def as_student(given: Any) -> Student:
    """Return what a user gave as a student in the form of one.

    Args:
        given: A `keras.Model`, which may be a `Student`.

    Raises:
        ValueError: If it is no Keras model.
    """
    if isinstance(given, Student):
        return given
    if isinstance(given, keras.Model):
        return ModelStudent(given)
    raise ValueError(
        "`student` must be a keras.Model. "
        f"Received: student={given!r} (of type {type(given).__name__})"
    )
