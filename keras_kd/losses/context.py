"""What a loss may know of the step beside its signals."""

from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from keras_kd.hyperparameters import Schedule


@dataclass
class StepContext:
    """The batch and the moment that a loss is computed for.

    Attributes:
        x: The batch's inputs, before `student_inputs` and `teacher_inputs`.
        y: The batch's labels, or None.
        sample_weight: The batch's weights, class weights included, or None: those of
            the output that the loss reads, where each has its own.
        training: True in `fit`, False in `evaluate`.
        step: The optimiser's step, an integer tensor.
        teacher_mask: The Keras masks of the teacher's signals, in their structure;
            None for a signal without a mask.
        student_mask: The same for the student's signals.
        sample_ids: The number of each example, where the Distiller was given
            `sample_ids=`, else None.
    """

    x: Any = None
    y: Any = None
    sample_weight: Any = None
    training: bool = True
    step: Any = None
    teacher_mask: Any = None
    student_mask: Any = None
    sample_ids: Any = None
    values: dict[tuple[int, str], Any] = field(default_factory=dict, repr=False)

    def included(self, count: Any) -> Any:
        """Return which examples of the batch count at all.

        A method that compares examples with each other must leave out of every
        relation those that have no weight or are masked.

        Args:
            count: The number of examples.

        Returns:
            Tensor of shape `(count,)`, float32: 1, or 0 for an example that is left
            out.
        """
        keep = ops.ones((count,), dtype="float32")
        given = [self.sample_weight, self.teacher_mask, self.student_mask]
        for weight in keras.tree.flatten(given):
            if weight is not None:
                counts = ops.not_equal(weight, ops.zeros_like(weight))
                axes = tuple(range(1, len(weight.shape)))
                keep *= ops.cast(
                    ops.any(counts, axis=axes) if axes else counts, "float32"
                )
        return keep

    def weight_of_each(self, count: Any) -> Any:
        """Return how much each example counts in the mean of the loss.

        Args:
            count: The number of examples.

        Returns:
            Tensor of shape `(count,)`, float32: its sample weight, or 0 for an example
            that is left out.
        """
        total = self.included(count)
        for weight in keras.tree.flatten(self.sample_weight):
            if weight is not None:
                weight = ops.cast(weight, "float32")
                axes = tuple(range(1, len(weight.shape)))
                total *= ops.mean(weight, axis=axes) if axes else weight
        return total

    def mask_of(self, side: str, signals: Any, key: Any = None) -> Any:
        """Return the Keras mask of each of some signals, in their structure.

        Args:
            side: "teacher" or "student".
            signals: The signals.
            key: The key of the signals among all of that side, where these are a dict.

        Returns:
            The masks; None for a signal without a mask.
        """
        given = self.teacher_mask if side == "teacher" else self.student_mask
        if key is not None and isinstance(given, dict):
            given = given[key]
        if keras.tree.is_nested(given):
            return given
        return keras.tree.map_structure(lambda _: given, signals)

    def value(self, owner: Any, name: str) -> Any:
        """Return the present value of a hyperparameter of `owner`.

        Args:
            owner: The loss.
            name: The name of one of its `keras_kd.Hyperparameter` attributes.

        Returns:
            A number, or a scalar tensor in a step of the Distiller.

        Raises:
            ValueError: If it follows a schedule and there is no step to read it at,
                or if the Distiller does not know the owner.
        """
        key = (id(owner), name)
        if key in self.values:
            return self.values[key]
        if self.values:
            raise ValueError(
                f"`{name}` of {type(owner).__name__} must be known to the Distiller: "
                "read here, its value would be frozen into the compiled step. "
                f"Received: a {type(owner).__name__} that no attribute of the "
                "Distiller's losses or of its teacher leads to. Keep it in an "
                "attribute of the loss that uses it, in `__init__` or `build`."
            )
        value = getattr(owner, name)
        if isinstance(value, Schedule):
            raise ValueError(
                f"`{name}` of {type(owner).__name__} follows a schedule, which is read "
                "at the optimiser's step. Received: a call outside of a training "
                "step. Use `keras_kd.Distiller`, or give a number."
            )
        return value
