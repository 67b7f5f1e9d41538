"""A row of the table of all losses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

import keras_kd
from tests.losses import references as ref
from tests.losses.calls import called

Shape = tuple[int, ...]
Shapes = Shape | list[Shape] | dict[str, Any]


@dataclass
class Row:
    """A loss, the signals it compares, and the value that it must have.

    Attributes:
        make: Builds the loss.
        reference: Its value per example or token in float64 NumPy, of the teacher's
            and the student's signals, of the labels where the loss reads them, and of
            the weights of its layers where it owns some.
        teacher: The shape of the teacher's signal, or a structure of shapes.
        student: The same for the student.
        minimum: The value for equal signals, where that is known.
        kind: "logits", "features" or "attention" (probabilities on the last axis).
        labels: Whether the loss reads the labels; classes are on the last axis.
        relational: Whether the value of one example depends on the others, so that
            a weight of 2 is no repetition.
        shift_invariant: Whether a constant added to all logits changes nothing.
        scale: The standard deviation of the signals.
        learned: Whether the loss owns layers; they are given random weights, and
            compute as in evaluation.
        numbered: How many examples share a number, where the loss reads the number of
            each; 0 where it does not.
        detached: Whether signals of the student are targets without gradient, too. The
            reference gets these as `fixed`.
        models: Builds the teacher and the student that the loss looks for layers in.
        prepare: Brings the built loss into the state that the reference expects.
        weight: The published weight, where the value is a sum that needs a small one.
    """

    make: Callable[[], Any]
    reference: Callable[..., Any]
    teacher: Shapes = (6, 5)
    student: Shapes = (6, 5)
    minimum: float | None = 0.0
    kind: str = "logits"
    labels: bool = False
    relational: bool = False
    shift_invariant: bool = True
    scale: float = 2.0
    learned: bool = False
    numbered: int = 0
    detached: bool = False
    models: Callable[[], Any] | None = None
    prepare: Callable[[Any], None] | None = None
    weight: float = 1.0
    _weights: Any = field(default=None, repr=False)

    def signals(self, seed=0):
        """Return the teacher's and the student's signals, float64."""
        random = np.random.default_rng(seed)

        def draw(shape):
            values = random.normal(0, self.scale, shape)
            # Not too sharp: finite differences need room on both sides.
            return ref.softmax(values / 4) if self.kind == "attention" else values

        return [_over_shapes(draw, side) for side in (self.teacher, self.student)]

    def y(self, seed=0):
        """Return labels for the batch, or None where the loss reads none."""
        if not self.labels:
            return None
        one_output = isinstance(self.student, tuple)
        *shape, classes = self.student if one_output else self.teacher
        return np.random.default_rng(seed + 10).integers(0, classes, shape)

    def expected(self, teacher, student, y=None, fixed=None):
        """Return the value of the reference.

        Args:
            teacher: The teacher's signals.
            student: The student's signals.
            y: The labels, or None.
            fixed: The student's signals as far as they are targets. None for the same.
        """
        given = (teacher, student) if y is None else (teacher, student, y)
        if self.learned and self._weights is None:
            self._weights = weights_of(self.build())
        extra = (self._weights,) if self.learned else ()
        if self.detached:
            extra += (student if fixed is None else fixed,)
        return np.asarray(self.reference(*given, *extra), "float64")

    def step(self, student, y=None, **context):
        """Return the step of a batch."""
        x = None
        if self.numbered:
            count = len(keras.tree.flatten(student)[0])
            x = {"sample_id": np.arange(count) // self.numbered}
        training = not self.learned
        return keras_kd.StepContext(x=x, y=y, training=training, **context)

    def call(self, loss, teacher, student, y=None, **context):
        """Return the values of the loss, as one array."""
        values = called(loss, teacher, student, self.step(student, y, **context))
        return values[0] if isinstance(values, list) and len(values) == 1 else values

    def build(self):
        """Return a loss that has seen the shapes of its signals."""
        loss = self.make()
        if self.models is not None:
            loss.bind(*self.models())

        def spec(shape):
            return keras.KerasTensor((None, *shape[1:]))

        loss.build(_over_shapes(spec, self.teacher), _over_shapes(spec, self.student))
        if self.learned:
            _randomize(loss)
        if self.prepare is not None:
            self.prepare(loss)
        return loss


def _over_shapes(function, shapes):
    if isinstance(shapes, list):
        return [function(shape) for shape in shapes]
    if isinstance(shapes, dict):
        return {name: _over_shapes(function, part) for name, part in shapes.items()}
    return function(shapes)


def _state(loss):
    """List the layers' weights, but for the state of random numbers."""
    return [
        [w for w in layer.weights if "float" in str(w.dtype)] for layer in loss.layers
    ]


def _randomize(loss):
    """Give all layers weights that no initialiser would: each must matter."""
    random = np.random.default_rng(3)
    positive = ("variance", "count", "normalizer")
    for variable in keras.tree.flatten(_state(loss)):
        values = random.normal(0, 0.5, variable.shape)
        if any(word in variable.path.rsplit("/", 1)[-1] for word in positive):
            values = 0.5 + np.abs(values)
        variable.assign(values)


def weights_of(loss):
    """Return the weights of each layer of a loss, float64."""
    return keras.tree.map_structure(
        lambda w: keras.ops.convert_to_numpy(w).astype("float64"), _state(loss)
    )
