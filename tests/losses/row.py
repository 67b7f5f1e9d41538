"""A row of the table of all losses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import keras_kd
from tests.losses import references as ref

Shape = tuple[int, ...]


@dataclass
class Row:
    """A loss, the signals it compares, and the value that it must have.

    Attributes:
        make: Builds the loss.
        reference: Its value per example or token in float64 NumPy, of the teacher's
            and the student's signals, and of the labels where the loss reads them.
        teacher: The shape of the teacher's signal, or a list of shapes.
        student: The same for the student.
        minimum: The value for equal signals, where that is known.
        kind: "logits", "features" or "attention" (probabilities on the last axis).
        labels: Whether the loss reads the labels; classes are on the last axis.
        relational: Whether the value of one example depends on the others, so that
            a weight of 2 is no repetition.
        shift_invariant: Whether a constant added to all logits changes nothing.
        scale: The standard deviation of the signals.
    """

    make: Callable[[], Any]
    reference: Callable[..., Any]
    teacher: Shape | list[Shape] = (6, 5)
    student: Shape | list[Shape] = (6, 5)
    minimum: float | None = 0.0
    kind: str = "logits"
    labels: bool = False
    relational: bool = False
    shift_invariant: bool = True
    scale: float = 2.0

    def signals(self, seed=0):
        """Return the teacher's and the student's signals, float64."""
        random = np.random.default_rng(seed)

        def draw(shape):
            values = random.normal(0, self.scale, shape)
            # Not too sharp: finite differences need room on both sides.
            return ref.softmax(values / 4) if self.kind == "attention" else values

        return [
            [draw(shape) for shape in side] if isinstance(side, list) else draw(side)
            for side in (self.teacher, self.student)
        ]

    def y(self, seed=0):
        """Return labels for the batch, or None where the loss reads none."""
        if not self.labels:
            return None
        *shape, classes = self.student
        return np.random.default_rng(seed + 10).integers(0, classes, shape)

    def expected(self, teacher, student, y=None):
        """Return the value of the reference."""
        given = (teacher, student) if y is None else (teacher, student, y)
        return np.asarray(self.reference(*given), "float64")

    def call(self, loss, teacher, student, y=None, **context):
        """Return the values of the loss, as one array."""
        step = keras_kd.StepContext(y=y, **context)
        values = loss.call(teacher, student, step)
        return values[0] if isinstance(values, list) and len(values) == 1 else values

    def build(self):
        """Return a loss that has seen the shapes of its signals."""
        import keras

        loss = self.make()

        def spec(side):
            if isinstance(side, list):
                return [spec(shape) for shape in side]
            return keras.KerasTensor((None, *side[1:]))

        loss.build(spec(self.teacher), spec(self.student))
        return loss
