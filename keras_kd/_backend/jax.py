"""JAX: the step is a pure function of its state, so what it reads must be fed to it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_kd._backend.common import (
    Fed,
    KeptValues,
    NoModes,
    SharedTrainer,
    all_finite,
    as_fed,
    is_lost,
    move_each_towards,
    no_scope,
    preserving,
    tracing_frames,
)
from keras_kd._backend.keras_internals import (
    UnskippedHooks,
    batches_of,
    execution_of,
    update_metrics,
)

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


Modes = NoModes


def first_rows(leaf: Any, count: int) -> Any:
    """Return the first rows of an array, in host memory."""
    if not getattr(leaf, "is_fully_addressable", True):
        # Another process's part of it cannot be read.
        leaf = leaf.addressable_data(0)
    return np.asarray(leaf[:count])


def run_trial(
    function: Any, variables: Sequence[keras.Variable], compiled: bool
) -> Any:
    """Return what a function of the state computes, without effect.

    Args:
        function: A function of pairs of variables and values.
        variables: The variables.
        compiled: Whether to compile it: one program starts sooner than each of its
            operations by itself.
    """
    if not compiled:
        return function(())
    return jax.jit(_of_values(function, variables))([v.value for v in variables])


def shapes_of(
    function: Any, variables: Sequence[keras.Variable], compiled: bool
) -> Any:
    """Return the shapes and types of what `run_trial` would return."""
    if not compiled:
        return function(())
    values = [variable.value for variable in variables]
    return jax.eval_shape(_of_values(function, variables), values)


def _of_values(function: Any, variables: Sequence[keras.Variable]) -> Any:
    def of_values(values: Any) -> Any:
        return function(list(zip(variables, values, strict=True)))

    return of_values


class DistillationTrainer(SharedTrainer, UnskippedHooks):
    """Feeds frozen variables to the compiled step beside the batch.

    The state of a JAX step is donated: its buffers are gone after the call, also when
    the call fails. The teacher and the hyperparameters therefore are no part of it.
    """

    def _around(self, function: Any, *, training: bool) -> Any:
        # Listed once: walking through two models takes longer than a small step.
        self._frozen = Frozen(self._engine.frozen_variables())
        return super()._around(function, training=training)

    def _feed(self, batches: Any, *, training: bool) -> Iterator[Fed]:
        steps = self.steps_per_execution
        for execution in batches:
            frozen = [variable.value for variable in self._frozen.variables]
            # While training the optimizer's step is part of the state, and its
            # variable is empty; in evaluation it is the other way round.
            number = None if training else self._engine.optimizer_step()
            fed = [
                Fed(
                    batch,
                    self._engine.on_batch(batch, training=training),
                    frozen,
                    number,
                )
                for batch in batches_of(execution, steps)
            ]
            yield execution_of(fed, steps)

    def train_step(self, state: Any, data: Any) -> Any:
        """Train on a batch, as `keras.Model.train_step` does."""
        with self._open(state, data, training=True) as (batch, step):
            if self._engine.splits_gradients:
                logs, state = self._split_train_step(state, batch, step)
            else:
                logs, state = super().train_step(state, batch)
            if self._engine.acts_after_update:
                state = self._updated(state)
            return logs, state

    def _on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        """Keep the part of the loss that is the task's, in a step that splits them."""
        step.task_part = part
        return total

    def _split_train_step(self, state: Any, batch: Any, step: Any) -> Any:
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
            return (loss, step.task_part * scale), aux

        both, pullback, aux = jax.vjp(losses, trainable, has_aux=True)
        one, zero = jnp.ones_like(both[0]), jnp.zeros_like(both[1])
        (gradients,) = pullback((one, zero))
        (of_task,) = pullback((zero, one))
        engine = self._engine
        if engine.scale_adapts:
            # The step is skipped, too, where the task's gradient alone overflows.
            finite = all_finite(of_task)
            gradients = [jnp.where(finite, g, jnp.nan) for g in gradients]
        engine.give_task_gradients(of_task, scale)
        loss, y_pred, non_trainable, metrics = aux
        trainable, optimizer_values = self.optimizer.stateless_apply(
            optimizer_values, gradients, trainable
        )
        logs, metrics = update_metrics(self, metrics, loss, x, y, y_pred, sample_weight)
        return logs, (trainable, non_trainable, optimizer_values, metrics)

    def _updated(self, state: Any) -> Any:
        trainable, non_trainable, *rest = state
        values = [*self._values(trainable, non_trainable)]
        values += zip(self.optimizer.variables, rest[0], strict=True)
        with keras.StatelessScope(state_mapping=values) as scope:
            self._engine.after_update()
        changed = [scope.get_current_value(v) for v in self.non_trainable_variables]
        return trainable, changed, *rest

    def _values(self, trainable: Any, non_trainable: Any) -> Iterator[Any]:
        yield from zip(self.trainable_variables, trainable, strict=True)
        yield from zip(self.non_trainable_variables, non_trainable, strict=True)

    def test_step(self, state: Any, data: Any) -> Any:
        """Evaluate a batch, as `keras.Model.test_step` does."""
        with self._open(state, data, training=False) as (batch, _):
            return super().test_step(state, batch)

    @contextmanager
    def _open(self, state: Any, data: Any, *, training: bool) -> Iterator[Any]:
        engine = self._engine
        trainable, non_trainable, *rest = state
        values = [*self._values(trainable, non_trainable)]
        fed = as_fed(data)
        variables = self._frozen.variables
        if fed.frozen is None:  # someone calls train_step(state, data) directly
            variables = engine.frozen_variables()
            fed = fed._replace(frozen=[v.value for v in variables])
        values += zip(variables, fed.frozen, strict=True)
        number = fed.number
        if training:
            values += zip(self.optimizer.variables, rest[0], strict=True)
            with keras.StatelessScope(state_mapping=values):
                number = engine.optimizer_step()
        elif number is None:
            number = engine.optimizer_step()
        batch = engine.prepare_batch(fed.batch)
        with engine.open_step(
            batch, training=training, number=number, state=values, fed=fed.extra
        ) as step:
            yield batch, step


@dataclass
class Frozen:
    """The variables that are fed to the step; an object, which Keras looks not into.

    Attributes:
        variables: The variables.
    """

    variables: list[keras.Variable] = field(default_factory=list)


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
