"""PyTorch: steps are eager; gradients are switched off around the teacher."""

from contextlib import AbstractContextManager
from typing import Any

import keras
import torch

from keras_kd._backend.common import (
    KeptValues,
    SharedTrainer,
    preserving,
    tracing_frames,
)

TRACING_FRAMES = tracing_frames("torch", "torch/utils/checkpoint.py")

no_gradient = torch.no_grad


def sum_over_replicas(value: Any) -> Any:
    """Return the sum over the replicas; Keras runs one replica a process here."""
    return value


class DistillationTrainer(SharedTrainer):
    """Reads frozen variables where they are."""

    def train_step(self, data: Any) -> Any:
        step = self.optimizer.iterations if self.optimizer.built else 0
        with self.open_step(data, training=True, step=step, state=()):
            return super().train_step(data)

    def test_step(self, data: Any) -> Any:
        built = self.optimizer is not None and self.optimizer.built
        step = self.optimizer.iterations if built else 0
        with self.open_step(data, training=False, step=step, state=()):
            return super().test_step(data)


def preserve_state(model: keras.Model) -> AbstractContextManager[KeptValues]:
    """Give the model its values back where an exception leaves it half-way."""

    def select() -> list[keras.Variable]:
        optimizer = getattr(model, "optimizer", None)  # there is none before `compile`
        return model.variables + ([] if optimizer is None else optimizer.variables)

    return preserving(KeptValues(select, whole_run=False))
