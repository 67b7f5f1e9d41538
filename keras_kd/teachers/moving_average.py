"""The student's own weights, averaged over its last steps."""

from typing import Any

import keras

from keras_kd import _backend
from keras_kd.hyperparameters import (
    Hyperparameter,
    Scalar,
    from_config,
    to_config,
)
from keras_kd.teachers.copies import copy_of


@keras.saving.register_keras_serializable(package="keras_kd")
class MovingAverage(keras.Model):
    """A teacher whose weights follow the student's: the mean teacher.

    After each update of the student, with θ its weights and θ' the teacher's:
    θ' ← m · θ' + (1 − m) · θ. At step t, counted from 0, m is at most t / (t + 1), so
    that the average starts at the student's first update and not at its random
    initial weights. Statistics, as those of batch normalisation, are averaged too.

    The averaged model is `teacher.model`, a plain Keras model that often answers
    better than the student itself.

    Args:
        student: The built Keras model that the Distiller trains. It is copied.
        momentum: The number m, from 0 to 1, or a `LearningRateSchedule`. Usual: 0.99
            to 0.999. Defaults to 0.999.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> teacher = MovingAverage(student, momentum=0.99)
    >>> distiller = Distiller(teacher, student, LogitsDistillation(1.0, "mse"))
    >>> distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    >>> history = distiller.fit(np.ones((8, 4)), np.zeros(8, "int32"), verbose=0)
    >>> bool(np.allclose(teacher.model.get_weights()[0], student.get_weights()[0]))
    True

    Reference: Tarvainen and Valpola, 2017, mean teachers, arXiv:1703.01780, who add
    noise or augmentation to the inputs of both sides.
    """

    momentum = Hyperparameter(minimum=0, maximum=1)

    def __init__(
        self, student: keras.Model, momentum: Scalar = 0.999, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(autocast=False, **kwargs)
        self.model = copy_of(student)
        self.momentum = momentum
        self.trainable = False
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the averaged model's answer, always in inference mode."""
        del training
        return self.model(inputs, training=False)

    def share_kept(self, momentum: Any, step: Any) -> Any:
        """Return how much of the average an update keeps.

        Args:
            momentum: The present value of `momentum`.
            step: The number of updates before this one.
        """
        step = keras.ops.cast(step, "float32")
        return keras.ops.minimum(momentum, step / (step + 1.0))

    def follow(self, student: keras.Model, kept: Any) -> None:
        """Move the weights towards those of the student that an update has changed.

        Args:
            student: The student, of the structure that was copied.
            kept: What `share_kept` has returned before the update.
        """
        _backend.move_towards(self.model.weights, student.weights, 1.0 - kept)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "student": keras.saving.serialize_keras_object(self.model),
            "momentum": to_config(self.momentum),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        config = {**config, "momentum": from_config(config["momentum"])}
        config["student"] = keras.saving.deserialize_keras_object(
            config["student"], custom_objects
        )
        return cls(**config)
