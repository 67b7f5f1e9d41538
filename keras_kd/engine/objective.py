"""All losses of a Distiller: what they want, and what they make of it."""

from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.engine.names import check_name, unique
from keras_kd.engine.reduction import Reads, reads_of, reduce_loss
from keras_kd.hyperparameters import check_weights, parts_in
from keras_kd.losses.base import DistillationLoss, requests_in
from keras_kd.losses.stock import as_distillation_loss
from keras_kd.losses.values import check_values
from keras_kd.signals.recording import Recording


class Objective:
    """Fetches the signals of every loss and computes the distillation terms.

    Args:
        losses: One loss or a list of losses, as the user gave them.

    Raises:
        ValueError: If there is no loss, something is none, or a name is taken.
    """

    def __init__(self, losses: Any) -> None:
        self.given = list(losses) if keras.tree.is_nested(losses) else [losses]
        if not self.given:
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
        self.names = unique([check_name(loss.name) for loss in self.losses])
        self.signal_specs: list[tuple[Any, Any]] | None = None

    def weights(self, given: Any) -> list[Any]:
        """Return one weight per loss, checked.

        Raises:
            ValueError: Their number is another, or one is no weight.
        """
        return check_weights(given, len(self.given))

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

    def parts(self) -> list[Any]:
        """List the losses and all that they hold, at any depth."""
        return parts_in(self.losses)

    def bind(self, teacher: Any, student: Any) -> None:
        """Find the layers that the losses name, as far as the models are built."""
        for loss in self.losses:
            loss.bind(teacher, student)

    def build(self, signal_specs: list[tuple[Any, Any]]) -> None:
        """Create the layers of the losses.

        Args:
            signal_specs: For each loss the teacher's and the student's signals, of
                `keras.KerasTensor`.
        """
        for loss, (teacher, student) in zip(self.losses, signal_specs, strict=True):
            loss.build(teacher, student)
        self.signal_specs = signal_specs

    def specs(self, signals: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Return the shapes of what `signals` returned, of `keras.KerasTensor`."""
        return [
            (_spec(loss, "teacher", teacher), _spec(loss, "student", student))
            for loss, (teacher, student) in zip(self.losses, signals, strict=True)
        ]

    def layers(self, models: list[Any]) -> dict[str, keras.layers.Layer]:
        """Return the layers that the losses own, each by a name of its place.

        Args:
            models: Teacher and student, whose layers are theirs.
        """
        theirs = {id(part) for model in models for part in _backend.parts_of(model)}
        owned: dict[int, tuple[str, keras.layers.Layer]] = {}
        for index, loss in enumerate(self.losses):
            found = [
                layer
                for part in parts_in(loss)
                for layer in getattr(part, "layers", [])
                if id(layer) not in theirs
            ]
            for number, layer in enumerate({id(la): la for la in found}.values()):
                owned.setdefault(id(layer), (f"loss_{index}_{number}", layer))
        return dict(owned.values())

    def signals(self, step: Any) -> list[tuple[Any, Any]]:
        """Return the signals of teacher and student for each loss."""
        return [
            (
                _fetch(loss, "teacher", step.teacher),
                _fetch(loss, "student", step.student),
            )
            for loss in self.losses
        ]

    def terms(self, step: Any, reads: list[Reads]) -> list[Any]:
        """Return each loss as a scalar, unweighted: this replica's share of it.

        Args:
            step: The step, in which both sides have run.
            reads: What each loss reads in it.
        """
        examples = batch_size(step.student.output)
        terms = []
        for loss, read in zip(self.losses, reads, strict=True):
            given = loss.call(read.teacher, read.student, read.context)
            check_values(loss, given, examples)
            terms.append(reduce_loss(loss, given, read.context))
        return terms

    def reads(self, step: Any, batch: tuple[Any, Any, Any]) -> list[Reads]:
        """Return for each loss its signals, and what of them counts."""
        signals = self.signals(step)
        return [
            reads_of(loss, teacher, student, step, batch)
            for loss, (teacher, student) in zip(self.losses, signals, strict=True)
        ]


def _signals(loss: DistillationLoss, side: str) -> Any:
    return loss.teacher_signals() if side == "teacher" else loss.student_signals()


def _spec(loss: DistillationLoss, side: str, values: Any) -> Any:
    """Return the shapes of a loss's signals of one side."""
    signals = _signals(loss, side)
    if values is None:
        return None
    return keras.tree.map_structure_up_to(
        signals,
        lambda request, value: None if request is None else request.spec(value),
        signals,
        values,
    )


def _fetch(loss: DistillationLoss, side: str, record: Recording | None) -> Any:
    signals = _signals(loss, side)
    if record is None:
        return None
    return keras.tree.map_structure(
        lambda request: None if request is None else request.value(record), signals
    )


def batch_size(y_pred: Any) -> Any:
    """Return the number of examples of the batch behind the student's outputs."""
    return ops.shape(keras.tree.flatten(y_pred)[0])[0]
