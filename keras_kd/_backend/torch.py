"""PyTorch: steps are eager; gradients are switched off around the teacher."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import torch

from keras_kd._backend.common import SharedTrainer, no_scope, tracing_frames

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


@contextmanager
def preserve_state(model: keras.Model) -> Iterator[None]:
    """Give the model its values back where an exception leaves it without them.

    Nothing is lost here: a step that fails leaves the variables as they were.
    """
    del model
    yield from no_scope()
