"""PyTorch: steps are eager; gradients are switched off around the teacher."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import torch

from keras_kd._backend.common import (
    KeptValues,
    SharedTrainer,
    all_finite,
    failing_unless,
    preserving,
    tracing_frames,
)

TRACING_FRAMES = tracing_frames("torch", "torch/utils/checkpoint.py")

no_gradient = torch.no_grad


def sum_over_replicas(value: Any) -> Any:
    """Return the sum over the replicas; Keras runs one replica a process here."""
    return value


def move_towards(
    variables: Sequence[keras.Variable], targets: Sequence[keras.Variable], share: Any
) -> None:
    """Move each variable by a share of the way to the value of another.

    Args:
        variables: Those to move; whole numbers among them take the other's value.
        targets: As many others, of the same shapes.
        share: Scalar, from 0 (stay) to 1 (be equal).
    """
    mine, others = [], []
    for variable, target in zip(variables, targets, strict=True):
        if keras.backend.is_float_dtype(variable.dtype):
            mine.append(variable.value)
            others.append(target.value)
        else:
            variable.assign(target.value)
    # All at once: a call for each variable takes longer than what it computes.
    with torch.no_grad():
        gaps = torch._foreach_sub(others, mine)
        torch._foreach_mul_(gaps, share)
        torch._foreach_add_(mine, gaps)


class DistillationTrainer(SharedTrainer):
    """Reads frozen variables where they are."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all that the step trains.

        Keras keeps the parameters of a model by the paths of its variables, of which
        two with the same path, as of two models of one class, count as one: the
        gradients of the other would add up from step to step.
        """
        del set_to_none
        for variable in self.trainable_variables:
            variable.value.grad = None

    def on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        del step
        values = [variable.value for variable in self.trainable_variables]
        scale = self.optimizer.scale_loss(torch.ones_like(part))
        gradients: Sequence[Any] = [None] * len(values)
        if part.requires_grad:  # there may be no task
            gradients = torch.autograd.grad(
                part * scale, values, retain_graph=True, allow_unused=True
            )
        self.give_task_gradients(gradients, scale)
        if self.scale_adapts:
            return failing_unless(all_finite(gradients), total)
        return total

    def train_step(self, data: Any) -> Any:
        step = self.optimizer.iterations if self.optimizer.built else 0
        data = self.prepare_batch(data)
        with self.open_step(data, training=True, step=step, state=()):
            logs = super().train_step(data)
            self.after_update()
            return logs

    def test_step(self, data: Any) -> Any:
        built = self.optimizer is not None and self.optimizer.built
        step = self.optimizer.iterations if built else 0
        data = self.prepare_batch(data)
        with self.open_step(data, training=False, step=step, state=()):
            return super().test_step(data)


def preserve_state(model: keras.Model) -> AbstractContextManager[KeptValues]:
    """Give the model its values back where an exception leaves it half-way."""

    def select() -> list[keras.Variable]:
        optimizer = getattr(model, "optimizer", None)  # there is none before `compile`
        return model.variables + ([] if optimizer is None else optimizer.variables)

    return preserving(KeptValues(select, whole_run=False))
