"""What teachers made of the student's own weights share."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd import _backend
from keras_kd.signals.recording import Recording
from keras_kd.students.copies import copy_of
from keras_kd.teachers.base import Teacher
from keras_kd.teachers.model import recorded


class OwnWeights(keras.Model, Teacher):
    """A teacher that holds a copy of the student, which only its method changes.

    Args:
        student: The built Keras model that the Distiller trains. It is copied.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: The student has no weights, or cannot be copied.
    """

    def __init__(self, student: keras.Model, **kwargs: Any) -> None:
        model = copy_of(student)
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        self.model = model
        self.built = True

    @property
    def trainable(self) -> bool:
        """False, also where the Distiller that holds it is frozen and thawed."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        del value

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the copy's outputs, always in inference mode."""
        del training
        return self.model(inputs, training=False)

    follows_student = True

    def network(self) -> keras.layers.Layer:
        """Return the model itself, inside of which layers are tapped."""
        return self

    @property
    def frozen_variables(self) -> list[keras.Variable]:
        """The variables, of which those in `state` change after an update."""
        return list(self.variables)

    @property
    def state(self) -> list[keras.Variable]:
        """The weights of the copy, and what else the teacher counts."""
        return list(self.variables)

    def signals(
        self, x: Any, requests: Sequence[Any], *, fed: Any, check_calls: bool
    ) -> Recording:
        """Return the recording of the copy's forward pass, in inference mode."""
        del fed
        return recorded(self, x, requests, check_calls=check_calls)

    def bind(self, student: keras.Model) -> None:
        """Raise where the student has other weights than the copy.

        Args:
            student: The student of the Distiller; one that is not built yet passes.

        Raises:
            ValueError: It has.
        """
        if not _backend.is_built(student):
            return
        mine, its = (
            [tuple(variable.shape) for variable in model.weights]
            for model in (self.model, student)
        )
        if mine == its:
            return
        place = next(
            (
                n
                for n, (one, other) in enumerate(zip(mine, its, strict=False))
                if one != other
            ),
            min(len(mine), len(its)),
        )
        found = [
            shapes[place] if place < len(shapes) else None for shapes in (mine, its)
        ]
        kind = type(self).__name__
        raise ValueError(
            f"The {kind} must be made of the student that the Distiller trains. "
            f"Received: a {kind} of {self.model.name!r}, with {len(mine)} weights, and "
            f"the student {student.name!r}, with {len(its)}; weight {place} has the "
            f"shapes {found[0]} and {found[1]}. Pass `{kind}(student)`."
        )
