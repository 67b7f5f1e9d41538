"""The part that teachers made of several models share."""

from collections.abc import Sequence
from typing import Any

import keras


class TeacherGroup(keras.Model):
    """A model that holds others and has no weights of its own.

    Args:
        teachers: The Keras models, each with the same inputs.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: One is no Keras model.
    """

    def __init__(self, teachers: Sequence[Any], **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        # Each teacher casts its own inputs.
        super().__init__(autocast=False, **kwargs)
        if not all(isinstance(teacher, keras.Model) for teacher in teachers):
            kinds = [type(teacher).__name__ for teacher in teachers]
            raise ValueError(
                f"`teachers` must all be Keras models. Received: {kinds}. Wrap a "
                "function in a model whose `call` runs it."
            )
        self.teachers = list(teachers)
        self.built = all(teacher.built for teacher in self.teachers)

    def build(self, input_shape: Any) -> None:
        for teacher in self.teachers:
            if not teacher.built:
                teacher.build(input_shape)

    def outputs_of(self, inputs: Any) -> list[Any]:
        """Return the outputs of each teacher, in inference mode."""
        return [teacher(inputs, training=False) for teacher in self.teachers]

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "teachers": [serialize(teacher) for teacher in self.teachers],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        def made(teacher: Any) -> Any:
            return keras.saving.deserialize_keras_object(teacher, custom_objects)

        given = config["teachers"]
        teachers: Any = (
            {key: made(teacher) for key, teacher in given.items()}
            if isinstance(given, dict)
            else [made(teacher) for teacher in given]
        )
        return cls(**{**config, "teachers": teachers})
