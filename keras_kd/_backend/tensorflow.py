"""TensorFlow: the teacher runs before the tape opens; replicas run in threads."""

from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras
import tensorflow as tf

from keras_kd._backend.common import (
    KeptValues,
    SharedTrainer,
    all_finite,
    failing_unless,
    first_batch_of,
    move_each_towards,
    no_scope,
    preserving,
    tracing_frames,
)
from keras_kd._backend.keras_internals import TracingHooks, has_strategy

TRACING_FRAMES = tracing_frames(
    "tensorflow",
    "tensorflow/python/ops/custom_gradient.py",
    "tensorflow/python/ops/while_loop.py",
    "tensorflow/python/ops/cond.py",
)

no_gradient = contextmanager(no_scope)
# Signals of a frozen teacher are computed before Keras opens its tape.


move_towards = move_each_towards


def sum_over_replicas(value: Any) -> Any:
    """Return the sum of `value` over the replicas of a `tf.distribute` strategy."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return value
    context = tf.distribute.get_replica_context()
    if context is None:  # outside of `strategy.run` there is one replica only
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


class DistillationTrainer(SharedTrainer, TracingHooks):
    """Reads frozen variables where they are."""

    def train_step(self, data: Any) -> Any:
        data = self.prepare_batch(data)
        with self.open_step(data, training=True, step=self._step(), state=()) as step:
            if self.splits_gradients:
                # Around the tape of Keras, which gives the gradient of the whole loss.
                with tf.GradientTape() as step.tape:
                    logs = super().train_step(data)
            else:
                logs = super().train_step(data)
            self.after_update()
            return logs

    def on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "An optimizer that wants the task's gradient apart, as "
                "DistillationOriented, must train on one replica. Received: "
                f"{tf.distribute.get_strategy().num_replicas_in_sync} replicas."
            )
        scale = self.optimizer.scale_loss(tf.ones_like(part))
        scaled = part * scale
        with step.tape.stop_recording():
            gradients = step.tape.gradient(
                scaled, [variable.value for variable in self.trainable_variables]
            )
        self.give_task_gradients(gradients, scale)
        if self.scale_adapts:
            return failing_unless(all_finite(gradients), total)
        return total

    def test_step(self, data: Any) -> Any:
        data = self.prepare_batch(data)
        with self.open_step(data, training=False, step=self._step(), state=()):
            return super().test_step(data)

    def _step(self) -> Any:
        if self.optimizer is None or not self.optimizer.built:
            return 0
        return self.optimizer.iterations

    def build_before_tracing(self, build: Any, iterator: Any, data_batch: Any) -> None:
        # Keras builds a TensorFlow model while it traces the first step; an error
        # there would come too late, and after part of the model has been built.
        with self.distribute_strategy.scope():
            # With a strategy Keras reads a batch itself, and by its workers, if any.
            if self.needs_first_batch() or has_strategy(self):
                if data_batch is None:
                    data_batch = _of_one_replica(self, first_batch_of(iterator))
                data_batch = self.prepare_batch(data_batch)
            if self.needs_first_batch():
                self.on_first_batch(data_batch)
            if self.optimizer is not None and not self.optimizer.built:
                # Built here, its step count is readable in the first traced step.
                self.optimizer.build(self.trainable_variables)
        if data_batch is not None:
            iterator = None  # the batch at hand serves; do not read another
        with self.building():
            build(iterator, data_batch)
        self.on_built()


def _of_one_replica(model: keras.Model, batch: Any) -> Any:
    return keras.tree.map_structure(
        lambda value: (
            None
            if isinstance(value, tf.experimental.Optional)
            else model.distribute_strategy.experimental_local_results(value)[0]
        ),
        batch,
    )


def preserve_state(model: keras.Model) -> AbstractContextManager[KeptValues]:
    """Give the model its values back where an exception leaves it half-way."""

    def select() -> list[keras.Variable]:
        optimizer = getattr(model, "optimizer", None)  # there is none before `compile`
        return model.variables + ([] if optimizer is None else optimizer.variables)

    return preserving(KeptValues(select, whole_run=False))
