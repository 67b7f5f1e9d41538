"""A student and the generator that makes its data."""

from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.students.base import Student
from keras_kd.students.copies import copy_of


@keras.saving.register_keras_serializable(package="keras_kd")
class DataFreeStudent(keras.Model, Student):
    """A generator, a frozen teacher and a student in one, for training without data.

    The generator makes inputs of noise, teacher and student answer them. The teacher's
    answer has a gradient towards the generator, the student's has none. The outputs are
    a dict of the teacher's and the student's logits; layers of the teacher are tapped
    by paths as "teacher/embedding".

    Args:
        generator: A Keras model from noise to inputs of teacher and student.
        teacher: A trained Keras model; a copy of it is kept, and never trained.
        student: The Keras model to train. It remains a plain Keras model.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: An argument is no Keras model, or the teacher has no weights.

    Example:
    >>> def dense(size, units):
    ...     return keras.Sequential([keras.Input((size,)), keras.layers.Dense(units)])
    >>> model = DataFreeStudent(dense(2, 4), dense(4, 3), dense(4, 3))
    >>> distiller = Distiller(
    ...     None,
    ...     model,
    ...     keras_kd.losses.DataFreeDistillation(),
    ...     student_loss_weight=0.0,
    ... )
    >>> distiller.compile("adam")
    >>> noise = np.random.default_rng(0).normal(size=(8, 2))
    >>> history = distiller.fit(noise, verbose=0)
    >>> sorted(model(noise))
    ['student', 'teacher']

    Reference: Chen et al., 2019, DAFL, arXiv:1904.01186.
    """

    def __init__(
        self,
        generator: keras.Model,
        teacher: keras.Model,
        student: keras.Model,
        **kwargs: Any,
    ) -> None:
        for name, model in (("generator", generator), ("student", student)):
            if not isinstance(model, keras.Model):
                raise ValueError(
                    f"`{name}` must be a keras.Model. Received: {name}={model!r}"
                )
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        self.generator, self.student = generator, student
        self.teacher = copy_of(teacher, argument="teacher")
        self.built = True

    @property
    def trainable(self) -> bool:
        """Whether generator and student train; the teacher never does."""
        return bool(super().trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.Model.trainable.fset(self, value)
        _backend.freeze(self.teacher)

    @property
    def plain_paths(self) -> list[str]:
        return ["student"]

    def call(self, inputs: Any, training: Any = None) -> dict[str, Any]:
        """Return the logits of teacher and student for what the noise becomes."""
        made = self.generator(inputs, training=training)
        taught = self.student(ops.stop_gradient(made), training=training)
        return {"teacher": self.teacher(made, training=False), "student": taught}

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        parts = ("generator", "teacher", "student")
        return {
            **super().get_config(),
            **{part: serialize(getattr(self, part)) for part in parts},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        parts = {
            part: keras.saving.deserialize_keras_object(config[part], custom_objects)
            for part in ("generator", "teacher", "student")
        }
        return cls(**{**config, **parts})
