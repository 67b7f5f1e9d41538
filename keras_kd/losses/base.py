"""The seam between the Distiller and every method."""

import copy
import inspect
import re
from typing import Any

import keras
from keras import ops

from keras_kd import hyperparameters
from keras_kd.losses.context import StepContext
from keras_kd.losses.values import mean_of_valid, values_and_valid
from keras_kd.signals.base import Signal
from keras_kd.signals.output import Output
from keras_kd.signals.tap import as_signal

_ABSENT = object()


class DistillationLoss:
    """Base class of what a student learns from.

    A loss says which signals it wants of the teacher and of the student, and turns
    them into one value per example or token. The Distiller fetches the signals in the
    one forward pass of each side, and weighs, masks, averages and reports the values.

    To write a loss, override `call`. Override `teacher_signals` and `student_signals`
    where it wants something else than the outputs: any structure of signals
    (`keras_kd.signals`, or of your own), or None. Layers that it owns (projectors,
    memories) are created in `build` and kept in attributes; they train and are saved
    with the Distiller, and are no part of the student. Numbers that may follow a
    schedule are `keras_kd.Hyperparameter` attributes, read by
    `step.value(self, "name")`. A loss may hold other losses in attributes, at any
    depth, and call them with the same `step`.

    Attributes:
        per_position: Whether `call` may be given any slice of the positions of a
            sequence, as a head that is computed in pieces gives them: whether each
            value follows from its own position alone. Defaults to False.

    A subclass written for `keras.distillation`, which overrides `compute_loss` and
    returns a scalar, works too; sample weights and masks cannot reach a scalar.

    Example:
    >>> class LogitGap(DistillationLoss):
    ...     '''Mean absolute difference of the logits.'''
    ...
    ...     def call(self, teacher, student, step):
    ...         return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
    >>> float(LogitGap().compute_loss(np.ones((2, 3)), np.zeros((2, 3))))
    1.0
    """

    _hyperparameters: tuple[str, ...] = ()

    teacher_layer_name: Any = None
    student_layer_name: Any = None
    per_position: bool = False

    def __init__(self, *, name: str | None = None) -> None:
        if name is not None:
            self.name = name

    @property
    def name(self) -> str:
        """The name of the loss in the logs."""
        given = self.__dict__.get("_name")
        return (
            given or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        )

    @name.setter
    def name(self, value: str | None) -> None:
        if value is not None and (not isinstance(value, str) or not value):
            raise ValueError(
                f"`name` must be None or a non-empty string. Received: name={value!r}"
            )
        self.__dict__["_name"] = value

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers that the loss owns and that train with the student.

        Those that its attributes hold; a layer of the teacher or of the student among
        them stays theirs.
        """
        return [
            layer
            for name, value in vars(self).items()
            if name != "_signals"
            for layer in keras.tree.flatten(value)
            if isinstance(layer, keras.layers.Layer)
        ]

    @property
    def built(self) -> bool:
        """Whether `build` has run."""
        return bool(self.__dict__.get("_built", False))

    def teacher_signals(self) -> Any:
        """Return the structure of signals wanted of the teacher."""
        return self._signal("teacher_layer_name")

    def student_signals(self) -> Any:
        """Return the structure of signals wanted of the student."""
        return self._signal("student_layer_name")

    def _signal(self, argument: str) -> Any:
        # Kept, because a tap of a layer object learns its path from the model.
        address = getattr(self, argument)
        kept = self.__dict__.setdefault("_signals", {})
        if argument not in kept or kept[argument][0] is not address:
            signal = Output() if address is None else as_signal(address)
            kept[argument] = (address, signal)
        return kept[argument][1]

    def bind(self, teacher: Any, student: Any) -> None:
        """Find the wanted layers in the models.

        Args:
            teacher: The teacher, or None where there is none.
            student: The student.

        Raises:
            ValueError: A model has no such layer.
        """
        sides = (
            ("teacher", teacher, self.teacher_signals()),
            ("student", student, self.student_signals()),
        )
        for side, model, signals in sides:
            for request in requests_in(signals):
                request.bind(model, side=side)

    def build(self, teacher: Any, student: Any) -> None:
        """Check the shapes of the signals and create the layers of the loss.

        Args:
            teacher: The structure of `teacher_signals`, of `keras.KerasTensor`.
            student: The same for the student.

        Raises:
            ValueError: The shapes do not fit.
        """
        self.validate_outputs(teacher, student)
        self.__dict__["_built"] = True

    def check(self, teacher: Any, student: Any) -> None:
        """Check the values of a few examples, which no compiled step can do.

        Args:
            teacher: The teacher's signals of the first examples of the first batch, 0
                where their weights and masks leave something out.
            student: The same for the student.

        Raises:
            ValueError: The values are not what the loss expects.
        """

    def check_batch(self, step: StepContext) -> None:
        """Check what the whole first batch says beside its signals.

        Args:
            step: The step, with x, y and sample_weight as concrete values.

        Raises:
            ValueError: Something is not what the loss expects.
        """

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        """Return one value per example `(batch,)` or token `(batch, length)`.

        Args:
            teacher: The teacher's signals, without gradient.
            student: The student's signals.
            step: What else the step knows: labels, masks, the step count.

        Returns:
            A tensor whose first axis is the batch, or a list or dict of such tensors,
            whose averages are added up. Or a tuple of that and of boolean tensors in
            the same structure, which say which values are valid: the others are left
            out of the mean, whatever stands there.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override `call` (one value per example) or, "
            "as in keras.distillation, `compute_loss` (a scalar)."
        )

    def compute_loss(
        self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any
    ) -> Any:
        """Return the mean loss as a scalar, as `keras.distillation` asks for it.

        Args:
            teacher_outputs: The teacher's signals.
            student_outputs: The student's signals, of the same structure.
            **kwargs: Ignored.

        Returns:
            Scalar tensor: the sum over the outputs of the mean value.

        Raises:
            ValueError: The signals do not fit, or the loss needs what only
                `keras_kd.Distiller` gives it: a projector or a schedule.
        """
        del kwargs
        if not self.built:
            specs = [_specs(teacher_outputs), _specs(student_outputs)]
            # A copy first: a loss that fails here stays as it was, unbuilt.
            trial = copy.copy(self)
            trial.build(*specs)
            if trial.layers:
                raise ValueError(
                    f"{type(self).__name__} owns layers here (as a projector between "
                    "signals of different width), which only `keras_kd.Distiller` can "
                    f"train. Received: {_shapes(teacher_outputs)} of the teacher and "
                    f"{_shapes(student_outputs)} of the student."
                )
            self.build(*specs)
        given = self.call(teacher_outputs, student_outputs, StepContext())
        return sum(
            ops.mean(values) if valid is None else mean_of_valid(values, valid)
            for values, valid in zip(*values_and_valid(given), strict=True)
        )

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise where the signals of the two sides differ in structure.

        Raises:
            ValueError: They do.
        """
        try:
            keras.tree.assert_same_structure(teacher_outputs, student_outputs)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{type(self).__name__} compares signals of one structure. Received: "
                f"teacher {_layout(teacher_outputs)}, student "
                f"{_layout(student_outputs)}. Select one output of each model, for "
                "instance by `output=(teacher's, student's)`."
            ) from error

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Raise where the loss cannot work with these models.

        Raises:
            ValueError: It cannot.
        """
        self.bind(teacher, student)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, from attributes of their names.

        A subclass adds those that it keeps in another form.
        """
        config = {
            name: list(value) if isinstance(value, tuple) else value
            for name in inspect.signature(type(self)).parameters
            if (value := self.__dict__.get(name, _ABSENT)) is not _ABSENT
        }
        for name in hyperparameters.names_of(self):
            config[name] = hyperparameters.to_config(getattr(self, name))
        if "_name" in self.__dict__:
            config["name"] = self.__dict__["_name"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        scheduled = hyperparameters.names_of(cls)
        return cls(
            **{
                key: hyperparameters.from_config(value)
                if key in scheduled
                else keras.saving.deserialize_keras_object(value)
                for key, value in config.items()
            }
        )


def requests_in(signals: Any) -> list[Any]:
    """List the signals of a structure of signals, without the None in it."""
    return [request for request in keras.tree.flatten(signals) if request is not None]


def address_config(address: Any, signal: Any) -> Any:
    """Return the JSON form of the address of a layer.

    Args:
        address: What the user gave: a path, a layer, a signal, or None.
        signal: The signal made of it, which knows the path of a layer object.
    """
    if isinstance(address, keras.layers.Layer):
        return signal.get_config()["layer"]
    if isinstance(address, Signal):
        return keras.saving.serialize_keras_object(address)
    return address


def _specs(signals: Any) -> Any:
    return keras.tree.map_structure(
        lambda x: keras.KerasTensor(
            x.shape, dtype=str(keras.backend.standardize_dtype(x.dtype))
        ),
        signals,
    )


def _layout(signals: Any) -> str:
    shapes = keras.tree.map_structure(lambda x: str(tuple(x.shape)), signals)
    return str(shapes).replace('"', "").replace("'(", "(").replace(")'", ")")


def _shapes(signals: Any) -> str:
    shapes = [str(tuple(x.shape)) for x in keras.tree.flatten(signals)]
    return ", ".join(shapes)
