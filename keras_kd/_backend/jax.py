"""JAX: the step is a pure function of its state, so what it reads must be fed to it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_kd._backend.common import (
    KeptValues,
    SharedTrainer,
    all_finite,
    is_lost,
    move_each_towards,
    no_scope,
    preserving,
    tracing_frames,
)
from keras_kd._backend.keras_internals import update_metrics

TRACING_FRAMES = tracing_frames(
    "jax",
    "jax/_src/ad_checkpoint.py",
    "jax/_src/lax/control_flow/loops.py",
    "jax/_src/lax/control_flow/conditionals.py",
)

no_gradient = contextmanager(no_scope)
# Signals of a frozen teacher are computed outside of the differentiated function.


def sum_over_replicas(value: Any) -> Any:
    """Return the sum over the replicas: arrays are global here, so `value` itself."""
    return value


move_towards = move_each_towards


class _Fed(NamedTuple):
    """A batch together with the values that the step reads and must not own.

    The state of a JAX step is donated: its buffers are gone after the call, also when
    the call fails. The teacher and the hyperparameters therefore are no part of it.
    """

    batch: Any
    frozen: list[Any]
    step: Any


class DistillationTrainer(SharedTrainer):
    """Feeds frozen variables to the compiled step beside the batch."""

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            super().make_train_function(force=force)
            self.train_function = self._feeding(self.train_function, training=True)
        return self.train_function

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            super().make_test_function(force=force)
            self.test_function = self._feeding(self.test_function, training=False)

    def _feeding(self, function: Any, *, training: bool) -> Any:
        # Listed once: walking through two models takes longer than a small step.
        variables = self.frozen_variables()

        def fed(batches: Iterator[Any]) -> Iterator[_Fed]:
            for batch in batches:
                frozen = [variable.value for variable in variables]
                # While training the optimiser's step is part of the state, and its
                # variable is empty; in evaluation it is the other way round.
                step = None if training else _concrete_step(self.optimizer)
                yield _Fed(batch, frozen, step)

        def run(state: Any, batches: Iterator[Any]) -> Any:
            return function(state, fed(batches))

        return run

    def train_step(self, state: Any, data: Any) -> Any:
        with self._open(state, data, training=True) as batch:
            if self.splits_gradients:
                logs, state = self._split_train_step(state, batch)
            else:
                logs, state = super().train_step(state, batch)
            return logs, self._updated(state) if self.acts_after_update else state

    def on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        del step
        self._task_part = part
        return total

    def _split_train_step(self, state: Any, batch: Any) -> Any:
        """Do what Keras's step does, but go backwards from two losses."""
        trainable, non_trainable, optimizer_values, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        mapping = list(zip(self.optimizer.variables, optimizer_values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            scale = self.optimizer.scale_loss(jnp.ones(()))

        def losses(trainable: Any) -> Any:
            loss, aux = self.compute_loss_and_updates(
                trainable,
                non_trainable,
                metrics,
                x,
                y,
                sample_weight,
                training=True,
                optimizer_variables=optimizer_values,
            )
            return (loss, self._task_part * scale), aux

        both, pullback, aux = jax.vjp(losses, trainable, has_aux=True)
        one, zero = jnp.ones_like(both[0]), jnp.zeros_like(both[1])
        (gradients,) = pullback((one, zero))
        (of_task,) = pullback((zero, one))
        if self.scale_adapts:
            # The step is skipped, too, where the task's gradient alone overflows.
            finite = all_finite(of_task)
            gradients = [jnp.where(finite, g, jnp.nan) for g in gradients]
        self.give_task_gradients(of_task, scale)
        self._task_part = None  # a tracer must not outlive its trace
        loss, y_pred, non_trainable, metrics = aux
        trainable, optimizer_values = self.optimizer.stateless_apply(
            optimizer_values, gradients, trainable
        )
        logs, metrics = update_metrics(self, metrics, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, optimizer_values, metrics)

    def _updated(self, state: Any) -> Any:
        trainable, non_trainable, *rest = state
        values = list(zip(self.trainable_variables, trainable, strict=True))
        values += zip(self.non_trainable_variables, non_trainable, strict=True)
        values += zip(self.optimizer.variables, rest[0], strict=True)
        with keras.StatelessScope(state_mapping=values) as scope:
            self.after_update()
        changed = [scope.get_current_value(v) for v in self.non_trainable_variables]
        return trainable, changed, *rest

    def test_step(self, state: Any, data: Any) -> Any:
        with self._open(state, data, training=False) as batch:
            return super().test_step(state, batch)

    @contextmanager
    def _open(self, state: Any, data: Any, *, training: bool) -> Iterator[Any]:
        trainable, non_trainable, *rest = state
        values = list(zip(self.trainable_variables, trainable, strict=True))
        values += zip(self.non_trainable_variables, non_trainable, strict=True)
        if not isinstance(data, _Fed):  # someone calls train_step(state, data) directly
            data = _Fed(data, [v.value for v in self.frozen_variables()], None)
        values += zip(self.frozen_variables(), data.frozen, strict=True)
        step = data.step
        if training:
            values += zip(self.optimizer.variables, rest[0], strict=True)
            with keras.StatelessScope(state_mapping=values):
                step = keras.ops.convert_to_tensor(self.optimizer.iterations)
        elif step is None:
            step = _concrete_step(self.optimizer)
        batch = self.prepare_batch(data.batch)
        with self.open_step(batch, training=training, step=step, state=values):
            yield batch


def _concrete_step(optimizer: Any) -> Any:
    if optimizer is None or not optimizer.built:
        return np.int32(0)
    return keras.ops.convert_to_tensor(optimizer.iterations)


def preserve_state(model: keras.Model) -> AbstractContextManager[KeptValues]:
    """Give the model its values back where an exception leaves it without them.

    `fit` empties the variables and donates their buffers to the compiled step; an
    error inside a step loses both.
    """
    select = partial(_variables_of_the_state, model)
    return preserving(KeptValues(select, whole_run=True))


def _variables_of_the_state(model: keras.Model) -> list[keras.Variable]:
    optimizer = getattr(model, "optimizer", None)  # there is none before `compile`
    own = [] if optimizer is None else optimizer.variables
    # Another process's part of an array can be neither read nor given back.
    return [
        variable
        for variable in [*model.variables, *model.metrics_variables, *own]
        if is_lost(variable) or getattr(variable.value, "is_fully_addressable", True)
    ]
