"""The student's own weights, averaged over its last steps."""

from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.hyperparameters import (
    Hyperparameter,
    Scalar,
    from_config,
    to_config,
)
from keras_kd.teachers.own_weights import OwnWeights


@keras.saving.register_keras_serializable(package="keras_kd")
class MovingAverage(OwnWeights):
    """A teacher whose weights follow the student's: the mean teacher.

    After each update of the student, with θ its weights and θ' the teacher's:
    θ' ← m · θ' + (1 − m) · θ. At the teacher's update t, counted from 0, m is at most
    t / (t + 1), so that the average starts at the student's first update and not at its
    random initial weights. A step in which the optimizer only accumulates a gradient,
    or skips one that overflowed, moves nothing; a new optimizer goes on with the
    average. Statistics, as those of batch normalisation, are averaged too.

    The averaged model is `teacher.model`, a plain Keras model that often answers
    better than the student itself.

    Args:
        student: The built Keras model that the Distiller trains, with weights in
            float32, as mixed precision keeps them. It is copied.
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
        super().__init__(student, **kwargs)
        coarse = {v.dtype for v in self.model.weights} & {"float16", "bfloat16"}
        if coarse:
            raise ValueError(
                "`student` must keep its weights in float32: in half precision the "
                "small steps of an average are rounded away. Received: "
                f"student={student.name!r}, with weights of type {min(coarse)}. Give "
                f'it the dtype policy "mixed_{min(coarse)}".'
            )
        self.momentum = momentum
        # Its own, because an optimizer starts from 0 where a run is compiled anew.
        self.updates = self.add_weight(
            shape=(), initializer="zeros", dtype="int", trainable=False, name="updates"
        )

    def after_update(self, student: keras.Model, step: Any, updated: Any) -> None:
        """Move the weights towards those of the student, after a step.

        Args:
            student: The student, of the structure that was copied.
            step: The step, with the value of `momentum`.
            updated: Scalar of type bool, whether the step has changed the student.
        """
        count = ops.cast(self.updates, "float32")
        kept = ops.minimum(step.value(self, "momentum"), count / (count + 1.0))
        share = (1.0 - kept) * ops.cast(updated, "float32")
        _backend.move_towards(self.model.weights, student.weights, share)
        self.updates.assign_add(ops.cast(updated, self.updates.dtype))

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
