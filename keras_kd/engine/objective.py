"""All losses of a Distiller: what they want, and what they make of it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd import _backend
from keras_kd.engine.active_step import ActiveStep
from keras_kd.engine.reduction import reduce_loss, selected_weights
from keras_kd.hyperparameters import Schedule, check_scalar
from keras_kd.losses.base import DistillationLoss, requests_in
from keras_kd.losses.context import StepContext
from keras_kd.losses.stock import as_distillation_loss
from keras_kd.signals.recording import Recording


class Objective:
    """Fetches the signals of every loss and computes the distillation terms.

    Args:
        losses: One loss or a list of losses, as the user gave them.

    Raises:
        ValueError: There is no loss, or something that is none.
    """

    def __init__(self, losses: Any) -> None:
        self.given = list(losses) if isinstance(losses, (list, tuple)) else [losses]
        if losses is None or not self.given:
            raise ValueError(
                "`distillation_losses` must hold at least one DistillationLoss. "
                f"Received: distillation_losses={losses!r}"
            )
        if len({id(loss) for loss in self.given}) < len(self.given):
            raise ValueError(
                "`distillation_losses` must not hold the same object twice, whose "
                f"projectors would be shared. Received: {self.given}"
            )
        self.losses = [as_distillation_loss(loss) for loss in self.given]
        self.names = _unique([loss.name for loss in self.losses])
        self.signal_specs: list[tuple[Any, Any]] | None = None

    def weights(self, given: Any) -> list[Any]:
        """Return one weight per loss, checked.

        Raises:
            ValueError: Their number is another, or one is no weight.
        """
        argument = "distillation_loss_weights"
        if given is None:
            return [1.0] * len(self.given)
        if isinstance(given, (int, float, Schedule)):
            given = [given]
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError(
                f"`{argument}` must be None or a list with one weight per loss. "
                f"Received: {argument}={given!r}"
            )
        if len(given) != len(self.given):
            raise ValueError(
                f"`{argument}` must hold one weight per loss, {len(self.given)}. "
                f"Received: {len(given)} weights, {argument}={list(given)!r}"
            )
        return [check_scalar(argument, weight, minimum=0) for weight in given]

    def requests(self, side: str) -> list[Any]:
        """List what the losses want of the "teacher" or the "student"."""
        return [
            request
            for loss in self.losses
            for request in requests_in(_signals(loss, side))
        ]

    @property
    def needs_teacher(self) -> bool:
        """Whether any loss reads the teacher."""
        return bool(self.requests("teacher"))

    def bind(self, teacher: Any, student: Any) -> None:
        """Find the layers that the losses name, as far as the models are built."""
        for loss in self.losses:
            loss.bind(teacher, student)

    def build(self, teacher: Recording | None, student: Recording) -> None:
        """Create the layers of the losses for the signals of a first forward pass."""
        self.build_from_specs(
            [
                (
                    specs(_fetch(loss, "teacher", teacher)),
                    specs(_fetch(loss, "student", student)),
                )
                for loss in self.losses
            ]
        )

    def build_from_specs(self, signal_specs: list[tuple[Any, Any]]) -> None:
        """Create the layers of the losses for signals of the given specs."""
        for loss, (teacher, student) in zip(self.losses, signal_specs, strict=True):
            loss.build(teacher, student)
        self.signal_specs = signal_specs

    def layers(self) -> dict[str, keras.layers.Layer]:
        """Return the layers that the losses own, each by a name of its place."""
        return {
            f"loss_{place}_{number}": layer
            for place, loss in enumerate(self.losses)
            for number, layer in enumerate(loss.layers)
        }

    def check(self, teacher: Recording | None, student: Recording) -> None:
        """Check the values of a first forward pass."""
        for loss in self.losses:
            loss.check(
                _fetch(loss, "teacher", teacher), _fetch(loss, "student", student)
            )

    def terms(self, step: ActiveStep, x: Any, y: Any, sample_weight: Any) -> list[Any]:
        """Return each loss as a scalar, unweighted: this replica's share of it."""
        terms = []
        batch = None if step.student is None else batch_size(step.student.output)
        for loss in self.losses:
            teacher = _fetch(loss, "teacher", step.teacher)
            student = _fetch(loss, "student", step.student)
            context = StepContext(
                x=x,
                y=y,
                sample_weight=selected_weights(loss, sample_weight, step.owner.student),
                training=step.training,
                step=step.step,
                teacher_mask=keras.tree.map_structure(_backend.mask_of, teacher),
                student_mask=keras.tree.map_structure(_backend.mask_of, student),
                checks=step.checks,
                values=step.values,
            )
            values = loss.call(teacher, student, context)
            check_values(loss, values, batch)
            terms.append(reduce_loss(loss, values, context))
        return terms


def check_values(loss: DistillationLoss, values: Any, batch: Any) -> None:
    """Raise where a loss returned something that cannot be averaged.

    Args:
        loss: The loss.
        values: What its `call` returned.
        batch: The number of examples, where it is known.

    Raises:
        ValueError: It returned no tensor at all, something else beside, or a tensor
            whose first axis is not the batch.
    """
    flat = [value for value in keras.tree.flatten(values) if value is not None]
    numbers = (float, np.ndarray, np.floating)
    if not flat or not all(ops.is_tensor(v) or isinstance(v, numbers) for v in flat):
        raise ValueError(
            f"`{type(loss).__name__}.call` must return a tensor with one value per "
            f"example or token, or a list or dict of these. Received: {values!r}"
        )
    shapes = [tuple(np.shape(value)) for value in flat]
    firsts = [shape[0] for shape in shapes if shape]
    if isinstance(batch, int) and any(f not in (batch, None) for f in firsts):
        raise ValueError(
            f"`{type(loss).__name__}.call` must return values whose first axis is the "
            f"batch, of {batch} examples. Received: shapes {shapes}. Average over the "
            "other axes only."
        )


def specs(signals: Any) -> Any:
    """Return signals as `keras.KerasTensor`, with a batch axis of any size."""

    def spec(signal: Any) -> Any:
        if signal is None:
            return None
        shape = tuple(signal.shape)
        dtype = keras.backend.standardize_dtype(signal.dtype)
        return keras.KerasTensor((None, *shape[1:]) if shape else (), dtype=dtype)

    return keras.tree.map_structure(spec, signals)


def _signals(loss: DistillationLoss, side: str) -> Any:
    return loss.teacher_signals() if side == "teacher" else loss.student_signals()


def _fetch(loss: DistillationLoss, side: str, record: Recording | None) -> Any:
    signals = _signals(loss, side)
    if record is None:
        return None
    return keras.tree.map_structure(
        lambda request: None if request is None else request.value(record), signals
    )


def _unique(names: list[str]) -> list[str]:
    counts: dict[str, int] = {}
    unique = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        unique.append(name if counts[name] == 1 else f"{name}_{counts[name]}")
    return unique


def batch_size(y_pred: Any) -> Any:
    """Return the number of examples of the batch behind the student's outputs."""
    return ops.shape(keras.tree.flatten(y_pred)[0])[0]
