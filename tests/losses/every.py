"""Every loss with signals that fit it: those of the registry and all the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import keras_kd
from keras_kd import losses

BATCH, CLASSES = 6, 4
OUTPUT = (CLASSES,)
SIGNALS = {
    "outputs": (OUTPUT, OUTPUT),
    "feature": ((4, 4, 5), (4, 4, 3)),
    "same_width": ((4, 4, 5), (4, 4, 5)),
    "vector": ((5,), (3,)),
    "stages": ([(4, 4, 5), (2, 2, 6)], [(4, 4, 3), (2, 2, 4)]),
    "exits": (OUTPUT, {"output": OUTPUT, "stages": [(4, 4, 3), (2, 2, 4)]}),
    "attention": ([(2, 3, 3)], [(2, 3, 3)]),
    "relations": ([(3, 2, 4)] * 3, [(3, 2, 2)] * 3),
    "nothing": (None, OUTPUT),
    "own_exits": (None, {"output": OUTPUT, "stages": [(4, 4, 3), (5,)]}),
    "teachers": ([OUTPUT] * 2, OUTPUT),
    "peers": (None, [OUTPUT] * 2),
    "gated": (None, {"outputs": [OUTPUT] * 2, "features": (5,)}),
    "data_free": (None, {"teacher": OUTPUT, "student": OUTPUT, "features": (5,)}),
}


@dataclass(frozen=True)
class Case:
    """A loss, and the shapes of its signals without the batch."""

    make: Callable[[], Any]
    signals: str

    @property
    def shapes(self) -> tuple[Any, Any]:
        """The shapes of the teacher's and the student's signals."""
        return SIGNALS[self.signals]

    def build(self) -> Any:
        """Return a loss that has seen the shapes of its signals."""
        keras.utils.set_random_seed(0)
        loss = self.make()
        loss.build(*(over(side, spec_of) for side in self.shapes))
        return loss

    def filled(self, draw: Callable[[tuple[int, ...]], np.ndarray], side: int) -> Any:
        """Return the signals of a side, each drawn for its shape."""

        def fill(shape: tuple[int, ...]) -> np.ndarray:
            values = draw((BATCH, *shape)).astype("float32")
            if self.signals == "attention":
                values = np.exp(values - values.max(axis=-1, keepdims=True))
                values /= values.sum(axis=-1, keepdims=True)
            return values

        return over(self.shapes[side], fill)


def spec_of(shape: tuple[int, ...]) -> keras.KerasTensor:
    return keras.KerasTensor((None, *shape))


def over(shapes: Any, function: Callable[[tuple[int, ...]], Any]) -> Any:
    """Map over a structure of shapes, which are tuples."""
    if shapes is None:
        return None
    if isinstance(shapes, dict):
        return {name: over(part, function) for name, part in shapes.items()}
    if isinstance(shapes, list):
        return [over(part, function) for part in shapes]
    return function(shapes)


_ARGUMENTS: dict[str, dict[str, Any]] = {
    "crd": {"num_examples": 9, "size": 3, "negatives": 4},
    "ofd": {"teacher_layer_names": ["a", "b"], "student_layer_names": ["a", "b"]},
    "review": {"teacher_layer_names": ["a", "b"], "student_layer_names": ["a", "b"]},
    "ofa": {"student_layer_names": ["a", "b"]},
    "attention": {"teacher_layers": ["a"], "student_layers": ["a"]},
    "minilm": {"relation_heads": 2},
    "ctkd": {"reversal_strength": 0.5},
}
_SIGNALS = {"simkd": "same_width", "minilm": "relations"}
_OTHERS = {
    "class_subset": (
        lambda: losses.ClassSubsetDistillation(range(CLASSES), own_examples_only=True),
        "outputs",
    ),
    "confidence": (lambda: losses.ConfidenceWeightedDistillation(2), "teachers"),
    "teacher_dropping": (
        lambda: losses.TeacherDroppingDistillation(2, seed=0),
        "teachers",
    ),
    "mutual": (losses.MutualDistillation, "peers"),
    "collaborative": (losses.CollaborativeDistillation, "peers"),
    "lowest_margin": (
        lambda: losses.CollaborativeDistillation("lowest_margin"),
        "peers",
    ),
    "gated": (losses.GatedEnsembleDistillation, "gated"),
    "data_free": (
        lambda: losses.DataFreeDistillation(layer_name="teacher/embedding"),
        "data_free",
    ),
    "same_class": (losses.SameClassDistillation, "nothing"),
    "views": (
        lambda: losses.ViewAgreementDistillation(stop_gradient=False),
        "nothing",
    ),
    "last_batch": (lambda: losses.LastBatchDistillation(BATCH), "nothing"),
    "exits": (lambda: losses.ExitDistillation(["a", "b"]), "own_exits"),
    "hint_cosine": (
        lambda: losses.FeatureDistillation("cosine_similarity"),
        "same_width",
    ),
    "hint_vector": (losses.FeatureDistillation, "vector"),
    "crd_vector": (
        lambda: losses.get("crd", **_ARGUMENTS["crd"]),
        "vector",
    ),
}

CASES = {
    name: Case(
        lambda name=name: losses.get(name, **_ARGUMENTS.get(name, {})),
        _SIGNALS.get(name, method.signals),
    )
    for name, method in losses.methods().items()
} | {name: Case(*given) for name, given in _OTHERS.items()}

Y = np.array([0, 0, 1, 2, 1, 2], "int32")
# Two views of each of three examples.
IDS = np.array([3, 1, 2, 3, 1, 2], "int32")


def step_of(rows: Any = slice(None), **context: Any) -> keras_kd.StepContext:
    """Return the step of some rows of the batch."""
    as_tensor = keras.ops.convert_to_tensor
    context.setdefault("y", as_tensor(Y[rows]))
    context.setdefault("x", {"sample_id": as_tensor(IDS[rows])})
    return keras_kd.StepContext(**context)


def values_in(made: Any) -> list[Any]:
    """List the tensors of values that `call` returned, whatever it says of them."""
    return keras.tree.flatten(made[0] if isinstance(made, tuple) else made)
