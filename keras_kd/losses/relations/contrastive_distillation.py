"""The student tells each example from all others, as the teacher sees them."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.layers.embedding_memory import EmbeddingMemory
from keras_kd.losses.context import StepContext
from keras_kd.losses.features.base import FeatureComparison
from keras_kd.losses.left_out import included_rows, kept_signals
from keras_kd.losses.registry import Method
from keras_kd.losses.sample_ids import check_sample_ids
from keras_kd.losses.sample_ids import sample_ids as sample_ids_of
from keras_kd.ops.contrast import contrastive_loss
from keras_kd.ops.selection import unit_vectors


@keras.saving.register_keras_serializable(package="keras_kd")
class ContrastiveDistillation(FeatureComparison):
    """Contrastive representation distillation: CRD.

    Both sides' features are embedded in unit vectors by trained linear maps. The
    student's vector must find, among the teacher's stored vectors, that of the same
    example; and the teacher's that of the student: the two losses of
    `keras_kd.ops.contrastive_loss` are added. The stored vectors of all examples are a
    state of the loss, m · old + (1 − m) · new where an example was in the batch. One
    value per example.

    Args:
        teacher_layer_name: The teacher's embedding layer: a path, a layer object or a
            `Tap`. None for the model's output.
        student_layer_name: The same for the student.
        num_examples: The number N of examples of the data set. Memory: 2 · N · size ·
            4 bytes.
        sample_ids: The key of the batch's x that holds each example's number, from 0
            to N − 1. Select the images by `student_inputs=lambda x: x["image"]`.
        size: Length of the unit vectors. Defaults to 128.
        negatives: Number of negatives K. Defaults to 16384.
        temperature: Positive number τ. Defaults to 0.07.
        momentum: The share m of the old vector, from 0 to below 1. Defaults to 0.5.
        seed: Seed of the negatives, or None.
        name: The name in the logs. Defaults to "contrastive_distillation".

    Raises:
        ValueError: If `num_examples`, `size` or `negatives` is not a positive integer,
            `temperature` is not positive, `momentum` is not in its range, or the first
            batch holds an id of another range.

    Example:
    >>> loss = ContrastiveDistillation("embedding", "embedding", num_examples=1000)
    >>> loss.sample_ids
    'sample_id'

    Reference: Tian et al., 2020, arXiv:1910.10699; weight 0.8. They draw K negatives
    for each example; here the batch shares its draw, which takes 1/batch of the memory.
    """

    def __init__(
        self,
        teacher_layer_name: Any = None,
        student_layer_name: Any = None,
        *,
        num_examples: int,
        sample_ids: str = "sample_id",
        size: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(teacher_layer_name, student_layer_name, name=name)
        counts = {"num_examples": num_examples, "size": size, "negatives": negatives}
        for argument, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{argument}` must be a positive integer. "
                    f"Received: {argument}={value!r}"
                )
        if not isinstance(temperature, (int, float)) or not temperature > 0:
            raise ValueError(
                "`temperature` must be a positive number. "
                f"Received: temperature={temperature!r}"
            )
        if not isinstance(momentum, (int, float)) or not 0 <= momentum < 1:
            raise ValueError(
                "`momentum` must be at least 0 and below 1. "
                f"Received: momentum={momentum!r}"
            )
        self.num_examples = num_examples
        self.sample_ids = sample_ids
        self.size = size
        self.negatives = negatives
        self.temperature = float(temperature)
        self.momentum = float(momentum)
        self.seed = seed
        self._layers: list[Any] = []

    @property
    def layers(self) -> list[keras.layers.Layer]:
        return list(self._layers)

    def build(self, teacher: Any, student: Any) -> None:
        super().build(teacher, student)
        if self._layers:
            return
        for side, spec in (("teacher", teacher), ("student", student)):
            width = int(np.prod([n or 0 for n in spec.shape[1:]]))
            if len(spec.shape) < 2 or not width:
                raise ValueError(
                    "ContrastiveDistillation embeds features `(batch, ...)` of a known "
                    f"size. Received: the {side}'s signal {tuple(spec.shape)}. Tap a "
                    "layer after the global pooling."
                )
            layer = keras.layers.Dense(
                self.size, dtype="float32", name=f"{self.name}_{side}"
            )
            layer.build((None, width))
            self._layers.append(layer)
        memory = EmbeddingMemory(
            self.num_examples, self.size, self.seed, name=f"{self.name}_memory"
        )
        memory.build()
        self._layers.append(memory)

    def call(self, teacher: Any, student: Any, step: StepContext) -> Any:
        ids = sample_ids_of(step, self.sample_ids)
        *maps, memory = self._layers
        batch = ops.shape(student)[0]
        signals = (
            kept_signals(step, "teacher", teacher),
            kept_signals(step, "student", student),
        )
        vectors = [
            unit_vectors(layer(ops.reshape(features, (batch, -1))))
            for layer, features in zip(maps, signals, strict=True)
        ]
        positives, negatives = memory.lookup(
            ids, self.negatives, training=step.training
        )
        total, normalizers = 0.0, []
        for side in (0, 1):
            # Each side's vectors against the memory of the other.
            value, normalizer = contrastive_loss(
                vectors[side],
                positives[1 - side],
                negatives[1 - side],
                temperature=self.temperature,
                normalizer=ops.convert_to_tensor(memory.normalizers[side]),
                num_examples=self.num_examples,
                included=included_rows(step, batch),
            )
            total += value
            normalizers.append(normalizer)
        if step.training:
            kept = step.included(batch)
            memory.update(ids, vectors, normalizers, kept, momentum=self.momentum)
        return total

    def check_batch(self, step: StepContext) -> None:
        ids = check_sample_ids(step, self.sample_ids)
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.num_examples:
            raise ValueError(
                f"The sample ids must be from 0 to {self.num_examples - 1}. "
                f"Received: {low} to {high} in the first batch. Check "
                "`num_examples`."
            )


METHODS = (
    Method(
        "crd",
        ContrastiveDistillation,
        paper="Tian et al., 2020, arXiv:1910.10699",
        signals="feature",
        weight=0.8,
        student_loss_weight=1.0,
        when="Long training with numbered examples; memory grows with the data set.",
    ),
)


def _unit(vectors: Any) -> Any:
    size = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors / ops.sqrt(ops.where(size > 0.0, size, 1.0))
