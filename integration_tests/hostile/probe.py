"""A small Distiller whose signals can be spoilt on either side, row by row."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_kd
from keras_kd import losses, teachers

ROWS, SIZE, CLASSES = 6, 4, 3
STAGES = ["stage_1", "stage_2"]
NORMALIZED = ["normalized_1", "normalized_2"]
ON_EMBEDDINGS = ("rkd", "pkt", "cc", "crd", "itrd", "srd", "vkd")
# Transformers, peers, pairs of rows and generated inputs need models of their own.
KINDS = ("outputs", "classes", "feature", "stages", "exits", "nothing", "teachers")
METHODS = [name for name, m in losses.methods().items() if m.signals in KINDS]


class Spoilt(layers.Layer):
    """Gives `signal * scale + shift`, with a scale and a shift for each row."""

    def call(self, inputs):
        signal, scale, shift = inputs
        shape = (-1, *(1,) * (len(signal.shape) - 1))
        return signal * keras.ops.reshape(scale, shape) + keras.ops.reshape(
            shift, shape
        )


class Probe(keras.Model):
    """A convnet that shows spoilt signals and computes with sound ones."""

    def __init__(self, width: int, classes: int, **options: Any) -> None:
        super().__init__(**options)
        for stage in (1, 2):
            setattr(self, f"conv_{stage}", layers.Conv2D(width, 3, padding="same"))
            normalized = layers.BatchNormalization(name=f"normalized_{stage}")
            setattr(self, f"normalized_{stage}", normalized)
            setattr(self, f"stage_{stage}", Spoilt(name=f"stage_{stage}"))
        self.pool = layers.GlobalAveragePooling2D()
        self.embedding = Spoilt(name="embedding")
        self.head = layers.Dense(classes, name="head")
        self.logits = Spoilt(name="logits")

    def call(self, x, training=None):
        scale, shift = x["scale"], x["shift"]
        h = x["image"]
        for stage in (1, 2):
            h = getattr(self, f"conv_{stage}")(h)
            h = getattr(self, f"normalized_{stage}")(h, training=training)
            h = keras.ops.relu(h)
            getattr(self, f"stage_{stage}")([h, scale, shift])
        pooled = self.pool(h)
        self.embedding([pooled, scale, shift])
        return self.logits([self.head(pooled), scale, shift])


def side(name: str) -> Any:
    """Return what gives one side its inputs."""

    def inputs(x: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "image": x["image"],
            "scale": x[f"{name}_scale"],
            "shift": x[f"{name}_shift"],
        }

    return inputs


def batch() -> dict[str, np.ndarray]:
    """Return inputs that spoil nothing."""
    random = np.random.default_rng(0)
    ones, zeros = np.ones((ROWS, 1), "float32"), np.zeros((ROWS, 1), "float32")
    return {
        "image": random.normal(size=(ROWS, SIZE, SIZE, 1)).astype("float32"),
        "sample_id": np.arange(ROWS, dtype="int32"),
        "teacher_scale": ones,
        "teacher_shift": zeros,
        "student_scale": ones.copy(),
        "student_shift": zeros.copy(),
    }


@dataclass
class Setup:
    """One step of a method, to be spoilt.

    Attributes:
        method: The name of the method.
        eager: Whether the step is run operation by operation.
        x: The inputs of both sides.
        y: The labels.
        weight: The weights of the rows, or None.
        classes: The number of classes of both sides.
        same_models: Whether the student is a copy of the teacher.
        zero_head: Whether the student's last layer holds zeros only.
        arguments: More arguments of the loss.
        twice: Whether the loss is given twice.
    """

    method: str
    eager: bool
    x: dict[str, Any] = field(default_factory=batch)
    y: Any = field(default_factory=lambda: np.arange(ROWS) % CLASSES)
    weight: Any = None
    classes: int = CLASSES
    same_models: bool = False
    zero_head: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    twice: bool = False

    def copy(self, **changes: Any) -> "Setup":
        """Return a copy with data of its own."""
        return replace(self, **{"x": dict(self.x), **changes})


@dataclass
class Outcome:
    """What a step gave: an error, or a value and the weights after it."""

    error: Exception | None = None
    value: float = float("nan")
    weights: list[np.ndarray] = field(default_factory=list)

    @property
    def finite(self) -> bool:
        """Whether the value and all that was trained by it are finite."""
        return bool(
            np.isfinite(self.value) and all(np.isfinite(w).all() for w in self.weights)
        )

    def equals(self, other: "Outcome") -> bool:
        """Say whether two steps gave the same value and the same gradient."""
        return (
            self.finite
            and other.finite
            and bool(np.isclose(self.value, other.value, rtol=1e-4, atol=1e-6))
            and all(
                np.allclose(a, b, rtol=1e-4, atol=1e-5)
                for a, b in zip(self.weights, other.weights, strict=True)
            )
        )


def make_loss(setup: Setup) -> Any:
    """Return the method's loss on the layers of a `Probe`."""
    name, signals = setup.method, losses.methods()[setup.method].signals
    layer = "embedding" if name in ON_EMBEDDINGS else "stage_2"
    arguments: dict[str, Any] = {}
    if signals == "feature":
        arguments = {"teacher_layer_name": layer, "student_layer_name": layer}
    elif signals == "stages":
        stages = NORMALIZED if name == "ofd" else STAGES
        arguments = {"teacher_layer_names": stages, "student_layer_names": stages}
    elif signals == "exits":
        arguments = {"student_layer_names": STAGES}
    elif signals == "classes":
        arguments = {"classes": list(range(setup.classes))}
    elif signals == "teachers":
        arguments = {"num_teachers": 2}
        if name == "ca_mkd_features":
            arguments |= {
                "teacher_layer_name": layer,
                "student_layer_name": layer,
                "classifier_layer_name": "head",
            }
    if name == "crd":
        arguments |= {"num_examples": ROWS, "negatives": 4, "size": 4, "seed": 0}
    method = losses.methods()[name]
    return method.make(**{**method.defaults, **arguments, **setup.arguments})


def run(setup: Setup) -> Outcome:
    """Take one step; return what it gave."""
    keras.utils.set_random_seed(1)
    try:
        return _run(setup)
    except Exception as error:  # to be judged, of whatever kind it is
        return Outcome(error)


def _run(setup: Setup) -> Outcome:
    signals = losses.methods()[setup.method].signals
    loss = make_loss(setup)

    def probe(width: int, name: str) -> Probe:
        model = Probe(width, setup.classes, name=name)
        model(side("teacher")(batch()))
        return model

    # Maps without a trained projector between them need equal widths.
    teacher: Any = probe(4, "teacher")
    student = probe(4, "student")
    if setup.same_models:
        student.set_weights(teacher.get_weights())
    if setup.zero_head:
        student.head.kernel.assign(np.zeros(student.head.kernel.shape))
    if signals == "teachers":
        teacher = teachers.Ensemble([teacher, probe(4, "second")])
    without = signals == "nothing"
    distiller = keras_kd.Distiller(
        None if without else teacher,
        student,
        [loss, loss] if setup.twice else loss,
        student_loss_weight=0.0,
        distillation_weight=1.0,
        student_inputs=side("student"),
        **({} if without else {"teacher_inputs": side("teacher")}),
    )
    distiller.compile(keras.optimizers.SGD(0.1), None, run_eagerly=setup.eager)
    given = {} if setup.weight is None else {"sample_weight": setup.weight}
    logs = distiller.train_on_batch(setup.x, setup.y, return_dict=True, **given)
    return Outcome(
        value=float(logs["distillation_loss"]),
        weights=[
            keras.ops.convert_to_numpy(variable)
            for variable in distiller.trainable_variables
        ],
    )
