"""TensorFlow: the teacher runs before the tape opens; replicas run in threads."""

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import keras
import tensorflow as tf

from keras_kd._backend.common import (
    Fed,
    KeptValues,
    NoModes,
    SharedTrainer,
    all_finite,
    as_fed,
    eager_trial,
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
run_trial = shapes_of = eager_trial


def sum_over_replicas(value: Any) -> Any:
    """Return the sum of `value` over the replicas of a `tf.distribute` strategy."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return value
    context = tf.distribute.get_replica_context()
    if context is None:  # outside of `strategy.run` there is one replica only
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


Modes = NoModes


def first_rows(leaf: Any, count: int) -> Any:
    """Return the first rows of an array or tensor, as a tensor."""
    return tf.convert_to_tensor(leaf[:count])


class DistillationTrainer(SharedTrainer, TracingHooks):
    """Reads frozen variables where they are."""

    def _feed(self, batches: Any, *, training: bool) -> Any:
        if not self._engine.reads_batches:
            return batches
        # As many as one execution takes: Keras asks an iterator for no more.
        taken = list(itertools.islice(batches, self.steps_per_execution))
        if not taken:
            raise StopIteration
        return iter([Fed(batch, self._extra(batch, training)) for batch in taken])

    def _extra(self, batch: Any, training: bool) -> Any:
        """Return what the teacher's `on_batch` gives for the share of each replica."""
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return self._engine.on_batch(batch, training=training)
        shares = []
        for replica in range(strategy.num_replicas_in_sync):

            def local(leaf: Any, replica: int = replica) -> Any:
                return strategy.experimental_local_results(leaf)[replica]

            share = keras.tree.map_structure(local, batch)
            shares.append(self._engine.on_batch(share, training=training))

        def of_replica(context: Any) -> Any:
            return keras.tree.map_structure(
                tf.convert_to_tensor, shares[context.replica_id_in_sync_group]
            )

        if all(share is None for share in shares):
            return None
        return strategy.experimental_distribute_values_from_function(of_replica)

    def train_step(self, data: Any) -> Any:
        """Train on a batch, as `keras.Model.train_step` does."""
        with self._open(data, training=True) as (batch, step):
            if self._engine.splits_gradients:
                # Around the tape of Keras, which gives the gradient of the whole loss.
                with tf.GradientTape() as step.tape:
                    logs = super().train_step(batch)
            else:
                logs = super().train_step(batch)
            self._engine.after_update()
            return logs

    def _on_task_part(self, part: Any, total: Any, step: Any) -> Any:
        """Take the gradient of the task's part, in a step that splits them."""
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
        self._engine.give_task_gradients(gradients, scale)
        if self._engine.scale_adapts:
            return failing_unless(all_finite(gradients), total)
        return total

    def test_step(self, data: Any) -> Any:
        """Evaluate a batch, as `keras.Model.test_step` does."""
        with self._open(data, training=False) as (batch, _):
            return super().test_step(batch)

    @contextmanager
    def _open(self, data: Any, *, training: bool) -> Iterator[Any]:
        engine, fed = self._engine, as_fed(data)
        batch = engine.prepare_batch(fed.batch)
        with engine.open_step(
            batch,
            training=training,
            number=engine.optimizer_step(),
            fed=fed.extra,
        ) as step:
            yield batch, step

    def build_before_tracing(self, build: Any, iterator: Any, data_batch: Any) -> None:
        """Check and build on the first batch, before anything is traced."""
        # Keras builds a TensorFlow model while it traces the first step; an error
        # there would come too late, and after part of the model has been built.
        engine = self._engine
        with self.distribute_strategy.scope():
            # With a strategy Keras reads a batch itself, and by its workers, if any.
            if not engine.checked or has_strategy(self):
                if data_batch is None:
                    data_batch = _of_one_replica(self, first_batch_of(iterator))
                data_batch = engine.prepare_batch(data_batch)
            if not engine.checked:
                self._on_first_batch(data_batch)
            if self.optimizer is not None and not self.optimizer.built:
                # Built here, its step count is readable in the first traced step.
                self.optimizer.build(self.trainable_variables)
        if data_batch is not None:
            iterator = None  # the batch at hand serves; do not read another
        with engine.building():
            build(iterator, data_batch)
        engine.on_built()


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
