"""The part of the trainer that all three backends share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras
import numpy as np

from keras_kd._backend.keras_internals import (
    BuildHooks,
    needs_a_batch,
    tracing_files,
    value_of,
)

Frames = tuple[tuple[str, frozenset[str] | None], ...]


def tracing_frames(backend: str, *files: str) -> Frames:
    """List the frames under which a layer is called in a trace of its own.

    What is recorded there cannot be used outside of it.

    Args:
        backend: The name of the backend.
        *files: Ends of the names of the files whose functions start such a trace.

    Returns:
        Pairs of the end of a file's name and the names of functions, None for all.
    """
    return (*tracing_files(backend), *((file, None) for file in files))


class SharedTrainer(BuildHooks):
    """Opens a distillation step around the train and test step of Keras.

    The trainers of Keras stay in charge of gradients, loss scaling, distribution and
    compilation; their steps are called with the batch as it is. A subclass provides
    `on_first_batch`, `needs_first_batch`, `frozen_variables` and `open_step`.
    """

    train_function: Any
    test_function: Any

    def needs_first_batch(self) -> bool:
        """Say whether something still has to be built or checked on a real batch."""
        raise NotImplementedError

    def on_first_batch(self, batch: Any) -> None:
        """Build and check, given the first batch, before anything is compiled."""
        raise NotImplementedError

    def building(self) -> AbstractContextManager[None]:
        """Return the scope inside which Keras builds metrics and task loss."""
        raise NotImplementedError

    def on_built(self) -> None:
        """Note that all variables exist, before JAX takes their values away."""

    def on_step_done(self) -> None:
        """Note that a train step, or several in one execution, is complete."""

    @property
    def splits_gradients(self) -> bool:
        """Whether the optimizer wants the gradient of the task apart."""
        return False

    def on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        """Take the part of the loss that is the task's, in a step that splits them.

        Args:
            part: Scalar tensor.
            total: Scalar tensor, the whole loss.
            step: What `open_step` has opened.

        Returns:
            The whole loss to go backwards from.
        """
        raise NotImplementedError

    @property
    def scale_adapts(self) -> bool:
        """Whether gradients that are not finite make the optimizer scale less."""
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)

    def give_task_gradients(self, gradients: Sequence[Any], scale: Any) -> None:
        """Hand the gradients of the task to the optimizer, for this step.

        Args:
            gradients: One for each trainable variable, or None.
            scale: What the optimizer has scaled the loss by.
        """
        raise NotImplementedError

    def prepare_batch(self, batch: Any) -> Any:
        """Return the batch in the form that the models and Keras's trainer take."""
        return batch

    @property
    def acts_after_update(self) -> bool:
        """Whether `after_update` has anything to do."""
        return False

    def after_update(self) -> None:
        """Change what follows the student, in a step, after the optimiser's update."""

    def frozen_variables(self) -> list[keras.Variable]:
        """List the variables that the step reads and that no step may change."""
        raise NotImplementedError

    def open_step(
        self,
        batch: Any,
        *,
        training: bool,
        step: Any,
        state: Iterable[tuple[keras.Variable, Any]],
    ) -> AbstractContextManager[Any]:
        """Return the scope of one step: `(batch, step, values of the variables)`."""
        raise NotImplementedError

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            super().make_train_function(force=force)
            function = self.train_function

            def train(*state_and_batches: Any) -> Any:
                result = function(*state_and_batches)
                self.on_step_done()
                return result

            self.train_function = train
        return self.train_function

    def build_on_batch(self, build: Any, iterator: Any, data_batch: Any) -> None:
        first = self.needs_first_batch()
        if first or needs_a_batch(self):
            if data_batch is None:
                data_batch = first_batch_of(iterator)
            data_batch = self.prepare_batch(data_batch)
        if first:
            self.on_first_batch(data_batch)
        with self.building():
            build(iterator, data_batch)
        self.on_built()


def first_batch_of(iterator: Any) -> Any:
    """Take one batch from a Keras epoch iterator, which the caller then resets."""
    with _without_workers(getattr(iterator, "data_adapter", None)):
        for _, _, data in iterator:
            return data[0] if isinstance(data, (list, tuple)) else next(data)
    raise ValueError(
        "`x` must hold at least one batch. Received: a data set without any. Check "
        "that the generator or data set is not exhausted and not empty."
    )


@contextmanager
def _without_workers(adapter: Any) -> Iterator[None]:
    """Read a `PyDataset` in this thread.

    Workers go on to read ahead, and Keras hands what they have read of one epoch to
    the next: a batch of the first would be lost, and all later ones would be late.
    """
    enqueuer = getattr(adapter, "enqueuer", None)
    if enqueuer is None:
        yield
        return
    adapter.enqueuer = None
    try:
        yield
    finally:
        adapter.enqueuer = enqueuer


class KeptValues:
    """Copies of a model's values, given back after an error where that is needed.

    An error in the first step leaves everything as it was before: its forward pass may
    have moved statistics and seeds, and TensorFlow runs what does not depend on the
    operation that failed. After later steps the values are given back, all of them, if
    some are lost, which happens on JAX only.

    Args:
        select: Returns the variables whose values may be in danger.
        whole_run: Whether values may get lost after the first step too.
    """

    def __init__(
        self, select: Callable[[], list[keras.Variable]], *, whole_run: bool
    ) -> None:
        self._select = select
        self._whole_run = whole_run
        self._in_first_step = True
        self._kept: dict[int, tuple[keras.Variable, Any]] = {}
        self.keep()

    def keep(self) -> None:
        """Copy the values of the variables that have appeared since."""
        if not self._in_first_step:
            return
        for variable in self._select():
            if id(variable) not in self._kept and not is_lost(variable):
                # In host memory: room on the device may be scarce. By the variable's
                # own method: `convert_to_numpy` fails on a scalar with replicas.
                self._kept[id(variable)] = variable, np.array(variable.numpy())

    def step_done(self) -> None:
        """Note that the first step is complete."""
        if self._in_first_step:
            self._in_first_step = False
            if not self._whole_run:
                self._kept.clear()

    def give_back(self) -> None:
        """Assign the values again where an error has left the variables without."""
        kept = list(self._kept.values())
        if self._in_first_step or any(is_lost(variable) for variable, _ in kept):
            for variable, value in kept:
                variable.assign(value)


@contextmanager
def preserving(kept: KeptValues) -> Iterator[KeptValues]:
    """Give the values back where an exception leaves the scope."""
    try:
        yield kept
    except BaseException:
        kept.give_back()
        raise


def move_each_towards(
    variables: Sequence[keras.Variable], targets: Sequence[keras.Variable], share: Any
) -> None:
    """Move each variable by a share of the way to the value of another.

    Args:
        variables: Those to move; whole numbers among them take the other's value.
        targets: As many others, of the same shapes.
        share: Scalar, from 0 (stay) to 1 (be equal).
    """
    for variable, target in zip(variables, targets, strict=True):
        new = target.value
        if keras.backend.is_float_dtype(variable.dtype):
            by = keras.ops.cast(share, variable.dtype)
            new = variable.value + by * (new - variable.value)
        variable.assign(new)


def all_finite(gradients: Sequence[Any]) -> Any:
    """Return whether all gradients are finite, as a scalar tensor."""
    ops = keras.ops
    given = [gradient for gradient in gradients if gradient is not None]
    checks = [ops.all(ops.isfinite(gradient)) for gradient in given]
    return ops.all(ops.convert_to_tensor(checks, "bool"))


def failing_unless(finite: Any, loss: Any) -> Any:
    """Return `loss` with a gradient of NaN where another is not finite.

    Where the task and the distillation pull against each other, the gradient of their
    sum is finite when that of the task alone has already overflowed: the optimizer
    must skip this step too.

    Args:
        finite: Scalar tensor of type bool.
        loss: Scalar tensor.

    Returns:
        Scalar tensor.
    """
    ops = keras.ops

    @ops.custom_gradient
    def guarded(value: Any) -> Any:
        def gradient(*values: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = values
            return ops.where(finite, upstream, ops.full_like(upstream, float("nan")))

        return value * 1.0, gradient

    return guarded(loss)


def is_lost(variable: keras.Variable) -> bool:
    """Say whether the value of a variable cannot be read (any more)."""
    value = value_of(variable)
    if value is None:
        return True
    is_deleted = getattr(value, "is_deleted", None)  # only JAX deletes
    return bool(is_deleted is not None and is_deleted())


def no_scope() -> Iterator[None]:
    """Yield once: the body of a scope that does nothing."""
    yield
