"""PyTorch: steps are eager; gradients are switched off around the teacher."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras
import torch

from keras_kd._backend.common import (
    Fed,
    KeptValues,
    SharedTrainer,
    all_finite,
    as_fed,
    eager_trial,
    failing_unless,
    preserving,
    tracing_frames,
)
from keras_kd._backend.keras_internals import as_tensors, parts_of

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


def first_rows(leaf: Any, count: int) -> Any:
    """Return the first rows of an array or tensor, as a tensor."""
    return keras.ops.convert_to_tensor(leaf[:count])


def run_trial(
    function: Any, variables: Sequence[keras.Variable], compiled: bool
) -> Any:
    """Return what a function of the state computes, without effect or gradient.

    Args:
        function: A function of pairs of variables and values.
        variables: The variables; their values are in place.
        compiled: Ignored: operations run one by one.
    """
    with torch.no_grad():
        return eager_trial(function, variables, compiled)


shapes_of = run_trial


class Modes:
    """Keeps the modes of torch modules that a callable is or holds.

    Keras layers are told by an argument whether they train; other modules keep it as
    a state of their own, which a forward pass in training mode changes more of.

    Args:
        function: The callable.
    """

    def __init__(self, function: Any) -> None:
        self._roots = [
            part
            for part in (function, *_reached_by(function))
            if isinstance(part, torch.nn.Module)
        ]
        self._found: list[torch.nn.Module] | None = None

    @contextmanager
    def kept_in_inference(self) -> Iterator[None]:
        """Put the modules into inference mode, and each back into its own."""
        modules = self._foreign()
        modes = [module.training for module in modules]
        for module in modules:
            module.training = False
        try:
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode

    def _foreign(self) -> list[torch.nn.Module]:
        # Found once: walking through a large model takes longer than a step may.
        if self._found is None:
            # Keras may hold layers in lists, which torch does not look into.
            parts = [p for root in self._roots for p in (root, *parts_of(root))]
            every = {id(m): m for part in parts for m in part.modules()}
            self._found = [m for m in every.values() if not _is_keras(m)]
        return self._found


def _reached_by(function: Any) -> list[Any]:
    """List what a function can reach: its object, its closure, globals it names."""
    code = getattr(function, "__code__", None)
    names = () if code is None else code.co_names
    known = getattr(function, "__globals__", {})
    cells = getattr(function, "__closure__", None) or ()
    return [
        getattr(function, "__self__", None),
        *map(_contents, cells),
        *(known[name] for name in names if name in known),
    ]


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is filled later than the function is made
        return None


def _is_keras(module: torch.nn.Module) -> bool:
    containers = (torch.nn.ParameterDict, torch.nn.ParameterList)
    return isinstance(module, (keras.layers.Layer, *containers))


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

    def _on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        """Take the gradient of the task's part, in a step that splits them."""
        del step
        values = [variable.value for variable in self.trainable_variables]
        scale = self.optimizer.scale_loss(torch.ones_like(part))
        gradients: Sequence[Any] = [None] * len(values)
        if part.requires_grad:  # there may be no task
            gradients = torch.autograd.grad(
                part * scale, values, retain_graph=True, allow_unused=True
            )
        self._engine.give_task_gradients(gradients, scale)
        if self._engine.scale_adapts:
            return failing_unless(all_finite(gradients), total)
        return total

    def _feed(self, batches: Any, *, training: bool) -> Any:
        """Return the one batch of an execution with what travels with it."""
        engine = self._engine
        if not engine.reads_batches:
            return batches
        return [Fed(b, engine.on_batch(b, training=training)) for b in batches]

    def train_step(self, data: Any) -> Any:
        """Train on a batch, as `keras.Model.train_step` does."""
        with self._open(data, training=True) as batch:
            logs = super().train_step(batch)
            self._engine.after_update()
            return logs

    def test_step(self, data: Any) -> Any:
        """Evaluate a batch, as `keras.Model.test_step` does."""
        with self._open(data, training=False) as batch:
            return super().test_step(batch)

    @contextmanager
    def _open(self, data: Any, *, training: bool) -> Iterator[Any]:
        engine, fed = self._engine, as_fed(data)
        batch = engine.prepare_batch(fed.batch)
        extra = as_tensors(fed.extra)
        optimizer = self.optimizer
        built = optimizer is not None and optimizer.built
        number = optimizer.iterations if built else 0
        with engine.open_step(batch, training=training, number=number, fed=extra):
            yield batch


def preserve_state(model: keras.Model) -> AbstractContextManager[KeptValues]:
    """Give the model its values back where an exception leaves it half-way."""

    def select() -> list[keras.Variable]:
        optimizer = getattr(model, "optimizer", None)  # there is none before `compile`
        return model.variables + ([] if optimizer is None else optimizer.variables)

    return preserving(KeptValues(select, whole_run=False))
