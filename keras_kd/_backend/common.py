"""The part of the trainer that all three backends share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_kd._backend.keras_internals import (
    BuildHooks,
    batches_of,
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


class Fed(NamedTuple):
    """A batch together with what the step reads beside it.

    Attributes:
        batch: The batch, as Keras's data adapter gives it.
        extra: What the teacher's `on_batch` gave for it.
        frozen: On JAX, the values of the variables that the step must not own.
        number: On JAX, the optimizer's step where it is not in the state.
    """

    batch: Any
    extra: Any = None
    frozen: Any = None
    number: Any = None


def as_fed(data: Any) -> Fed:
    """Return what a step was given in the form that it takes."""
    return data if isinstance(data, Fed) else Fed(data)


class SharedTrainer(BuildHooks):
    """Opens a distillation step around the train and test step of Keras.

    The trainers of Keras stay in charge of gradients, loss scaling, distribution and
    compilation; their steps are called with the batch as it is. `_engine` decides all
    that does not depend on the backend.
    """

    _engine: Any
    train_function: Any
    test_function: Any

    def make_train_function(self, force: bool = False) -> Any:
        """Compile the train step, as `keras.Model.make_train_function` does."""
        if self.train_function is None or force:
            super().make_train_function(force=force)
            self.train_function = self._around(self.train_function, training=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Compile the test step, as `keras.Model.make_test_function` does."""
        if self.test_function is None or force:
            super().make_test_function(force=force)
            self.test_function = self._around(self.test_function, training=False)
        return self.test_function

    def _around(self, function: Any, *, training: bool) -> Any:
        """Return `function` with batches that carry what the step reads."""

        def run(*state_and_batches: Any) -> Any:
            *state, batches = state_and_batches
            result = function(*state, self._feed(batches, training=training))
            if training:
                self._engine.on_step_done()
            return result

        return run

    def _feed(self, batches: Any, *, training: bool) -> Any:
        """Return the batches of one execution with what travels with them."""
        raise NotImplementedError

    def build_on_batch(self, build: Any, iterator: Any, data_batch: Any) -> None:
        """Build on the first batch, after the engine has seen it."""
        engine = self._engine
        if not engine.checked or needs_a_batch(self):
            if data_batch is None:
                data_batch = first_batch_of(iterator)
            data_batch = engine.prepare_batch(data_batch)
        if not engine.checked:
            self._on_first_batch(data_batch)
        with engine.building():
            build(iterator, data_batch)
        engine.on_built()

    def _on_first_batch(self, batch: Any) -> None:
        """Build and check, given the first batch, before anything is compiled."""
        raise NotImplementedError


class NotingScope(keras.StatelessScope):
    """A stateless scope that notes which variables are read beside those it maps.

    Args:
        state_mapping: Pairs of variables and their values.
        noted: A list to add the others to.
    """

    def __init__(
        self,
        state_mapping: Iterable[tuple[keras.Variable, Any]],
        noted: list[keras.Variable],
    ) -> None:
        super().__init__(state_mapping=state_mapping)
        self._noted = noted

    def get_current_value(self, variable: keras.Variable) -> Any:
        """Return the value of a variable in the scope, or None."""
        value = super().get_current_value(variable)
        if value is None:
            self._noted.append(variable)
        return value


def reading(
    state: Sequence[tuple[keras.Variable, Any]],
    noted: list[keras.Variable] | None = None,
) -> keras.StatelessScope:
    """Return a scope in which variables have given values and none changes.

    Args:
        state: Pairs of variables and their values, where these are not in place.
        noted: A list to add variables to that are read and are not in `state`.
    """
    if noted is None:
        return keras.StatelessScope(state_mapping=state)
    return NotingScope(state, noted)


def first_batch_of(iterator: Any) -> Any:
    """Take one batch from a Keras epoch iterator, which the caller then resets."""
    with _without_workers(getattr(iterator, "data_adapter", None)):
        for _, _, data in iterator:
            taken = data[0] if isinstance(data, (list, tuple)) else next(data)
            return batches_of(taken, iterator.steps_per_execution)[0]
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


def eager_trial(
    function: Any, variables: Sequence[keras.Variable], compiled: bool
) -> Any:
    """Return what a function of the state computes, where values are in place.

    Args:
        function: A function of pairs of variables and values.
        variables: The variables.
        compiled: Ignored: a few examples are sooner computed than compiled.
    """
    del variables, compiled
    return function(())


class NoModes:
    """Where callables have no mode: their arguments say whether they train.

    Args:
        function: The callable.
    """

    def __init__(self, function: Any) -> None:
        del function

    @contextmanager
    def kept_in_inference(self) -> Iterator[None]:
        """Do nothing."""
        yield


def no_scope() -> Iterator[None]:
    """Yield once: the body of a scope that does nothing."""
    yield
