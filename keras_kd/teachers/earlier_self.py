"""The student as it was some epochs ago."""

from typing import Any

import keras

from keras_kd.teachers.own_weights import OwnWeights


@keras.saving.register_keras_serializable(package="keras_kd")
class EarlierSelf(OwnWeights):
    """A teacher with the weights that the student had at the end of an earlier epoch.

    `fit` copies them at the end of epochs; in a loop of `train_on_batch`, call
    `refresh`. Until the first time the teacher has the student's initial weights, so
    the weight of its loss should start at 0: progressive self-knowledge distillation
    lets it grow in a straight line to 0.8 at the end of the training, with a
    temperature of 1, while that of the labels falls.

    Args:
        student: The built Keras model that the Distiller trains. It is copied.
        every: After how many epochs the weights are copied. Defaults to 1.
        **kwargs: Those of `keras.Model`.

    Raises:
        ValueError: If the student has no weights or cannot be copied, or `every` is
            no positive integer.

    Example:
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> distiller = Distiller(
    ...     EarlierSelf(student),
    ...     student,
    ...     LogitsDistillation(1.0, "categorical_crossentropy"),
    ...     student_loss_weight=keras.optimizers.schedules.PolynomialDecay(1.0, 8, 0.2),
    ... )
    >>> distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    >>> history = distiller.fit(
    ...     np.ones((8, 4)),
    ...     np.zeros(8, "int32"),
    ...     epochs=8,
    ...     verbose=0,
    ... )
    >>> len(history.history["loss"])
    8

    Reference: Kim et al., 2021, PS-KD, arXiv:2006.12000. They store the outputs of
    the last epoch for each image; here the model of that epoch gives them, at the
    price of a forward pass, and sees the augmented image of this epoch, as the student
    does.
    """

    def __init__(self, student: keras.Model, every: int = 1, **kwargs: Any) -> None:
        super().__init__(student, **kwargs)
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(
                "`every` must be a positive integer, the number of epochs. "
                f"Received: every={every!r}"
            )
        self.every = every

    def on_epoch_begin(self, epoch: int, student: keras.Model) -> None:
        """Refresh once more: a checkpoint may be older than the epoch's refresh."""
        if epoch > 0 and epoch % self.every == 0:
            self.refresh(student)

    def on_epoch_end(self, epoch: int, student: keras.Model) -> None:
        """Refresh where the epoch is one of those."""
        if (epoch + 1) % self.every == 0:
            self.refresh(student)

    def refresh(self, student: keras.Model) -> None:
        """Copy the student's weights of this moment."""
        self.bind(student)
        for mine, new in zip(self.model.weights, student.weights, strict=True):
            # A buffer of its own: JAX destroys the student's in its next step.
            mine.assign(keras.ops.copy(new.value))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "student": keras.saving.serialize_keras_object(self.model),
            "every": self.every,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        student = keras.saving.deserialize_keras_object(
            config["student"], custom_objects
        )
        return cls(**{**config, "student": student})
