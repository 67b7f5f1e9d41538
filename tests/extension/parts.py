"""One part of each kind as a user would write it, against the public bases only."""

from typing import Any

import keras
import numpy as np
from keras import ops

import keras_kd

FEATURES, CLASSES, ROWS = 4, 3, 16


@keras.saving.register_keras_serializable(package="tests")
class StoredRows(keras_kd.teachers.Teacher):
    """Rows of a table of logits, looked up on the host by the examples' numbers."""

    def __init__(self, table: Any) -> None:
        self.table = np.asarray(table, "float32")
        self.looked_up: list[Any] = []

    def on_batch(self, x: Any, y: Any, sample_weight: Any, sample_ids: Any) -> Any:
        self.looked_up.append(sample_ids)
        return self.table[sample_ids]

    def signals(self, x: Any, requests: Any, *, fed: Any, check_calls: bool) -> Any:
        return keras_kd.signals.Recording(None, "teacher", output=fed)

    def get_config(self) -> dict[str, Any]:
        return {"table": self.table.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@keras.saving.register_keras_serializable(package="tests")
class Pair(keras.Model, keras_kd.students.Student):
    """Two models for the same labels, whose outputs are a dict."""

    def __init__(self, left: Any, right: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.left, self.right = left, right
        self.output_names = ["left", "right"]
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        models = {"left": self.left, "right": self.right}
        return {name: models[name](inputs, training=training) for name in models}

    def share_labels(self, y: Any) -> Any:
        return y if y is None or isinstance(y, dict) else {"left": y, "right": y}

    @property
    def plain_paths(self) -> list[str]:
        return ["left", "right"]

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        parts = {"left": serialize(self.left), "right": serialize(self.right)}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        make = keras.saving.deserialize_keras_object
        parts = {name: make(config[name]) for name in ("left", "right")}
        return cls(**{**config, **parts})


@keras.saving.register_keras_serializable(package="tests")
class TaskFirst(keras_kd.optimizers.DistillationOptimizer):
    """Descent in which the distillation's gradient counts half."""

    wants_task_gradients = True

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        task = self.task_gradients or [None] * len(grads)
        mixed = [
            None if g is None else 0.5 * g + (0.0 if t is None else 0.5 * t)
            for g, t in zip(grads, task, strict=True)
        ]
        super().apply(mixed, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * ops.cast(gradient, variable.dtype))


@keras.saving.register_keras_serializable(package="tests")
class SureOnly(keras_kd.DistillationLoss):
    """The squared gap of the logits where the teacher prefers one class clearly."""

    per_position = True

    def call(self, teacher: Any, student: Any, step: Any) -> Any:
        valid = ops.max(teacher, axis=-1) - ops.min(teacher, axis=-1) > 1.0
        return ops.mean(ops.square(teacher - student), axis=-1), valid


@keras.saving.register_keras_serializable(package="tests")
class Around(keras_kd.DistillationLoss):
    """Another loss, times a learned factor: losses are nested to any depth."""

    def __init__(self, inner: Any, name: str | None = None) -> None:
        self.inner, self.name, self.factor = inner, name, None

    def teacher_signals(self) -> Any:
        return self.inner.teacher_signals()

    def student_signals(self) -> Any:
        return self.inner.student_signals()

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        self.inner.build(teacher, student)
        if self.factor is None:
            self.factor = keras.layers.Dense(1, use_bias=False, name="factor")
            self.factor.build((None, 1))

    def call(self, teacher: Any, student: Any, step: Any) -> Any:
        values = self.inner.call(teacher, student, step)
        return ops.squeeze(self.factor(ops.expand_dims(values, -1)), -1)

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner}


def network(seed: int) -> keras.Model:
    """Return a classifier whose weights depend on the seed alone."""
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(5, "tanh", name="hidden"),
            keras.layers.Dense(CLASSES, name="logits"),
        ]
    )
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(size=w.shape) for w in model.weights])
    return model


def data() -> tuple[dict[str, Any], Any, Any]:
    """Return inputs with their numbers, labels, and a table of a teacher's logits."""
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, FEATURES)).astype("float32")
    y = random.integers(0, CLASSES, size=ROWS).astype("int32")
    table = random.normal(size=(100, CLASSES)).astype("float32")
    ids = random.permutation(100)[:ROWS].astype("int32")
    return {"x": x, "id": ids}, y, table


@keras.saving.register_keras_serializable(package="tests")
def features(x: Any) -> Any:
    """Return what the student takes of the inputs."""
    return x["x"] if isinstance(x, dict) else x
