"""What all training schemes share: images, teachers, and how a student trains."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.methods import (
    BATCH,
    STUDENT_WIDTHS,
    TEACHER_WIDTHS,
    accuracy,
    convnet,
    train,
    trained_teacher,
)
from benchmarks.tasks import TASKS

SEEDS = (0, 1, 2)
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Scheme:
    """A row of the table.

    Attributes:
        name: Its name.
        family: The family that it stands for.
        cost: Arithmetic of the steps of all networks that train for it, over that of
            one student alone for 20 epochs. What a trained teacher answers is not
            counted.
        run: A function of (setup, seed, folder) to the test accuracy in percent, or to
            a dict with "test" and more.
        alone: The row of the student alone at this cost, or the next at hand.
        taught: The row of plain distillation at this cost, or the next at hand.
        reference: Whether the row only stands beside others.
        note: What the table must say of it.
    """

    name: str
    family: str
    cost: float
    run: Callable[[Any, int, Path], Any]
    alone: str | None = "alone"
    taught: str | None = "kd"
    reference: bool = False
    note: str = ""


class Setup:
    """The images and the teachers, made where they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "fashion_mnist"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.task = TASKS["fashion_mnist"]()
        self.x, self.y = self.task.student
        self.epochs = self.task.epochs

    def student(self, name: str = "student") -> keras.Model:
        """Return an untrained student."""
        return convnet(STUDENT_WIDTHS, self.task, name)

    def named_student(
        self, stages: int, classes: int = 10, head: str | None = None
    ) -> keras.Model:
        """Return a student of the first stages only, whose layers have names."""
        layers = keras.layers
        x = inputs = keras.Input(self.x.shape[1:])
        for stage, width in enumerate(STUDENT_WIDTHS[:stages]):
            for block in range(2):
                name = f"stage_{stage}_{block}"
                strides = 1 if block else 2
                x = layers.Conv2D(
                    width, 3, strides, padding="same", use_bias=False, name=name
                )(x)
                x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
                x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(
            inputs, layers.Dense(classes, name=head or f"logits_{stages}")(x)
        )

    @cached_property
    def teachers(self) -> list[keras.Model]:
        """Three teachers that differ in their seeds; the first is the usual one."""
        first = trained_teacher(self.task, self.folder)
        return [first, *(self._trained(f"teacher_{seed}", seed) for seed in (1, 2))]

    @property
    def teacher(self) -> keras.Model:
        """The usual teacher."""
        return self.teachers[0]

    @cached_property
    def specialists(self) -> list[keras.Model]:
        """One teacher of the classes 0 to 4, one of the others; each has 5 logits."""
        return [
            self._trained(
                f"specialist_{place}", 3 + place, range(5 * place, 5 * place + 5)
            )
            for place in range(2)
        ]

    @cached_property
    def private_teacher(self) -> keras.Model:
        """A teacher of the first 40,000 images alone."""
        return self._trained("private_teacher", 0, rows=slice(40_000))

    def _trained(
        self, name: str, seed: int, classes: Any = None, rows: slice = slice(None)
    ) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = convnet(TEACHER_WIDTHS, self.task, name)
        x, y = (part[rows] for part in self.task.teacher)
        if classes is not None:
            chosen = np.isin(y, list(classes))
            x, y = x[chosen], y[chosen] - classes[0]
            head = keras.layers.Dense(len(classes), name="logits")
            embedding = model.get_layer("embedding").output
            model = keras.Model(model.input, head(embedding), name=name)
        path = self.folder / f"{name}.weights.h5"
        if not path.exists():
            train(model, x, y, self.task.teacher_epochs, seed=seed)
            model.save_weights(path)
        model.load_weights(path)
        return model

    @cached_property
    def answers(self) -> list[np.ndarray]:
        """What the three teachers say of the student's images, computed once."""
        return [t.predict(self.x, 500, verbose=0) for t in self.teachers]

    def test(self, model: keras.Model) -> float:
        """Return the test accuracy in percent."""
        return accuracy(model, self.task.test)

    def compile(self, epochs: int, examples: int | None = None) -> Any:
        """Return what compiles a model for so many epochs."""
        steps = epochs * math.ceil((examples or len(self.y)) / BATCH)

        def compile_model(model: keras.Model) -> None:
            schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
            model.compile(keras.optimizers.Adam(schedule), CROSSENTROPY)

        return compile_model

    def training(self, epochs: int | None = None, seed: int = 0, **changes: Any) -> Any:
        """Return how the stages of a recipe train."""
        epochs = epochs or self.epochs
        examples = len(changes["y"]) if "y" in changes else None
        given = {
            "x": self.x,
            "y": self.y,
            "compile": self.compile(epochs, examples),
            **changes,
        }
        return keras_kd.recipes.Training(
            **given,
            epochs=epochs,
            batch_size=BATCH,
            seed=seed,
        )


def kd(teacher: Any, student: keras.Model, **arguments: Any) -> keras_kd.Distiller:
    """Return plain distillation, at the weights of `benchmarks.methods`."""
    return keras_kd.Distiller(
        teacher,
        student,
        keras_kd.LogitsDistillation(4.0),
        [0.9],
        student_loss_weight=0.1,
        distillation_weight=1.0,
        **arguments,
    )


def image(x: Any) -> Any:
    """Return the images of a batch that carries more."""
    return x["image"] if isinstance(x, dict) else x


def saying(names: list[str], classes: int = 10) -> list[keras.Model]:
    """Return models that give out what teachers have said, from the batch."""
    inputs = {name: keras.Input((classes,), name=name) for name in names}
    return [
        keras.Model(inputs, keras.layers.Identity()(inputs[name])) for name in names
    ]
