"""The one class that users meet."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.engine.active_step import ActiveStep, active_step, running
from keras_kd.engine.around_the_step import AroundTheStep
from keras_kd.engine.bank import HyperparameterBank
from keras_kd.engine.first_batch import check_batch, check_inputs
from keras_kd.engine.fit_data import evaluate_arguments, fit_arguments
from keras_kd.engine.loss_layers import LossLayers
from keras_kd.engine.objective import Objective, batch_size
from keras_kd.engine.saving import SavedDistiller
from keras_kd.hyperparameters import (
    Hyperparameter,
    Scalar,
    WeightList,
    names_of,
    watch,
)
from keras_kd.signals.recording import Recording, reads_inside, recording
from keras_kd.teachers.frozen import FrozenTeacher
from keras_kd.teachers.moving_average import MovingAverage


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(
    AroundTheStep, _backend.DistillationTrainer, SavedDistiller, keras.Model
):
    """Trains a student on labels and on what a teacher knows.

    total = student_loss_weight · task + distillation_weight · Σ wᵢ · Lᵢ + penalties

    where task is the loss given to `compile`, Lᵢ are the distillation losses, averaged
    as Σ w·l / Σ w over the examples or tokens that sample weights and masks leave
    valid (so scaling all weights alike changes no Lᵢ, while it scales the task loss,
    as Keras does), and the penalties are the student's regularisers and `add_loss`
    terms. Each step runs the student once and the teacher once.

    The logs hold `loss` and `total_loss` (the total), `student_loss` (the task),
    `distillation_loss` (Σ wᵢ · Lᵢ), and one entry per distillation loss, unweighted.

    Args:
        teacher: What the student learns from, in inference mode and never changed: a
            `keras.Model`, a layer, a function of the inputs, or None where no loss
            reads it.
        student: The `keras.Model` to train. It stays a plain Keras model.
        distillation_losses: A `DistillationLoss` or a list of them.
        distillation_loss_weights: One weight wᵢ ≥ 0 per loss; 1 each by default.
        student_loss_weight: Weight of the task loss, from 0 to 1. Defaults to 0.5.
        name: Name of the Distiller.
        distillation_weight: Weight of the distillation losses, at least 0. None
            stands for 1 − student_loss_weight.
        teacher_inputs: A function from the batch's x to the teacher's inputs.
        student_inputs: The same for the student; `predict` applies it too.
        evaluate_distillation: Whether `evaluate` runs the teacher and reports the
            distillation losses. Without, `loss` in evaluation is the student's alone.
        save_teacher: Whether the Distiller's own file holds a Keras teacher.
        **kwargs: Passed on to `keras.Model`.

    Every weight is a number or a `keras.optimizers.schedules.LearningRateSchedule`,
    read at the optimiser's step; a new value may be assigned between steps.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> distiller = Distiller(teacher, student, LogitsDistillation(temperature=2.0))
    >>> distiller.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    >>> history = distiller.fit(np.ones((8, 4)), np.zeros(8, "int32"), verbose=0)
    >>> sorted(history.history)[:2]
    ['distillation_loss', 'logits_distillation']
    """

    student_loss_weight = Hyperparameter(minimum=0, maximum=1)
    distillation_weight = Hyperparameter(minimum=0, optional=True)

    def __init__(
        self,
        teacher: Any,
        student: keras.Model,
        distillation_losses: Any,
        distillation_loss_weights: Sequence[Scalar] | None = None,
        student_loss_weight: Scalar = 0.5,
        name: str = "distiller",
        *,
        distillation_weight: Scalar | None = None,
        teacher_inputs: Callable[[Any], Any] | None = None,
        student_inputs: Callable[[Any], Any] | None = None,
        evaluate_distillation: bool = True,
        save_teacher: bool = True,
        **kwargs: Any,
    ) -> None:
        if not isinstance(student, keras.Model):
            raise ValueError(
                "`student` must be a keras.Model. "
                f"Received: student={student!r} (of type {type(student).__name__})"
            )
        for side, function in (
            ("teacher", teacher_inputs),
            ("student", student_inputs),
        ):
            if function is not None and not callable(function):
                raise ValueError(
                    f"`{side}_inputs` must be None or a function of the batch's x. "
                    f"Received: {side}_inputs={function!r}"
                )
        kwargs.setdefault("dtype", student.dtype_policy)
        # The student casts its own inputs; casting the batch here would round token
        # ids and labels to half precision.
        super().__init__(name=name, autocast=False, **kwargs)
        self.student = student
        self.frozen_teacher = (
            None if teacher is None else FrozenTeacher(teacher, teacher_inputs)
        )
        # Held as a part of the Distiller, because its weights change in the step.
        self.moving_average = teacher if isinstance(teacher, MovingAverage) else None
        self.student_inputs = student_inputs
        self.evaluate_distillation = bool(evaluate_distillation)
        self.save_teacher = bool(save_teacher)
        self.objective = Objective(distillation_losses)
        # Not by `self._weights =`: Keras would put a list of its own in its place,
        # which neither checks nor reports an assignment.
        self.__dict__["_weights"] = WeightList(
            self.objective.weights(distillation_loss_weights), self._weight_assigned
        )
        self.student_loss_weight = student_loss_weight
        self.distillation_weight = distillation_weight
        self._check_models()
        self._open_bank()
        self.loss_layers = LossLayers()
        self.loss_layers.hold(self.objective.layers())
        self._checked = False
        self._kept_values: Any = None
        self.student_loss_tracker = keras.metrics.Mean(name="student_loss")
        self.distillation_loss_tracker = keras.metrics.Mean(name="distillation_loss")
        self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
        self.distillation_trackers = [
            keras.metrics.Mean(name=name) for name in self.objective.names
        ]
        # There is nothing to build but the student, which its weights can be loaded
        # into before any batch.
        self.built = _backend.is_built(student)

    def _check_models(self) -> None:
        teacher = self.teacher
        if teacher is None and self.objective.needs_teacher:
            raise ValueError(
                "`teacher` must be given, because a distillation loss reads it. "
                f"Received: teacher=None with {self.objective.names}"
            )
        self.check_followers()
        try:
            self.objective.bind(teacher, self.student)
        except ValueError:
            unbuilt = not _backend.is_built(self.student)
            if self.frozen_teacher is not None:
                unbuilt = unbuilt or not self.frozen_teacher.built
            if not unbuilt:
                raise
            # The layers may appear when the first batch builds the models.

    # Weights and temperatures

    def _open_bank(self) -> None:
        readers: dict[tuple[int, str], Callable[[], Any]] = {}
        for name in names_of(self):
            readers[id(self), name] = partial(getattr, self, name)
        for place in range(len(self._weights)):
            key = id(self), f"distillation_loss_weights[{place}]"
            readers[key] = partial(self._weights.__getitem__, place)
        for loss in self.objective.losses:
            for name in names_of(loss):
                readers[id(loss), name] = partial(getattr, loss, name)
            if names_of(loss):
                watch(loss, self._hyperparameter_assigned)
        follower = self.moving_average
        if follower is not None:
            readers[id(follower), "momentum"] = partial(getattr, follower, "momentum")
            watch(follower, self._hyperparameter_assigned)
        self.bank = HyperparameterBank(readers, self._trace_again)
        watch(self, self._hyperparameter_assigned)

    def _hyperparameter_assigned(self, owner: Any, name: str) -> None:
        self.bank.refresh((id(owner), name))

    def _weight_assigned(self, place: int) -> None:
        self._hyperparameter_assigned(self, f"distillation_loss_weights[{place}]")

    def _trace_again(self) -> None:
        if self.train_function is not None:
            self.make_train_function(force=True)
        if self.test_function is not None:
            self.make_test_function(force=True)

    @property
    def distillation_losses(self) -> list[Any]:
        """The distillation losses, as they were given."""
        return list(self.objective.given)

    @property
    def distillation_loss_weights(self) -> list[Any]:
        """The weight of each distillation loss; its items may be assigned."""
        return self._weights

    @distillation_loss_weights.setter
    def distillation_loss_weights(self, weights: Sequence[Scalar]) -> None:
        for place, weight in enumerate(self.objective.weights(weights)):
            self._weights[place] = weight

    # The teacher

    @property
    def teacher(self) -> Any:
        """The teacher, as it was given."""
        return None if self.frozen_teacher is None else self.frozen_teacher.model

    @property
    def teacher_inputs(self) -> Callable[[Any], Any] | None:
        """The function from the batch's x to the teacher's inputs."""
        return None if self.frozen_teacher is None else self.frozen_teacher.inputs

    def frozen_variables(self) -> list[keras.Variable]:
        """List what a step reads and no step changes: teacher and hyperparameters."""
        own = {id(variable) for variable in self.variables}
        teacher = [] if self.frozen_teacher is None else self.frozen_teacher.variables
        # A layer that both models share belongs to the student.
        return self.bank.variables + [v for v in teacher if id(v) not in own]

    # The step

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configure the training, as `keras.Model.compile` does.

        Args:
            optimizer: The student's optimizer. Defaults to "adam".
            loss: The task loss between labels and the student's outputs, in the
                outputs' structure; None to learn from the teacher alone.
            metrics: As in `keras.Model.compile`, third as in `keras.distillation`.
            loss_weights: As in `keras.Model.compile`.
            weighted_metrics: As in `keras.Model.compile`.
            run_eagerly: As in `keras.Model.compile`.
            steps_per_execution: As in `keras.Model.compile`.
            jit_compile: As in `keras.Model.compile`; "auto" asks the teacher too.
            auto_scale_loss: As in `keras.Model.compile`.
        """
        if jit_compile == "auto" and not _backend.supports_jit(self.teacher):
            jit_compile = False
        self.introduce(optimizer)
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=self.shared_metrics(metrics),
            weighted_metrics=self.shared_metrics(weighted_metrics),
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self._checked = False

    @property
    def output_names(self) -> Any:
        """The names of the student's outputs, by which losses may be given."""
        names = getattr(self.student, "output_names", None)
        if names is None:
            raise AttributeError("the student's outputs have no names")
        return names

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """Return the student's outputs."""
        return self.run_student(inputs, training=training, **kwargs)

    def run_student(self, x: Any, training: Any = None, **kwargs: Any) -> Any:
        """Run the student once, and record what the losses want of it in a step."""
        step = active_step(self)
        if self.student_inputs is not None:
            x = self.student_inputs(x)
        if step is None or not step.distils:
            return self.student(x, training=training, **kwargs)
        wanted = self.objective.requests("student")
        with recording(
            self.student, wanted, side="student", check_calls=step.checks
        ) as record:
            record.output = self.student(x, training=training, **kwargs)
        step.student = record
        return record.output

    @contextmanager
    def open_step(
        self, batch: Any, *, training: bool, step: Any, state: Any
    ) -> Iterator[ActiveStep]:
        """Open a step: the teacher answers here, outside of what is differentiated."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        distils = training or self.evaluate_distillation
        active = ActiveStep(self, training=training, distils=distils, step=step)
        if distils:
            with keras.StatelessScope(state_mapping=state):
                active.values = self.bank.values(step)
                if training and self.acts_after_update:
                    active.updates = self.count_updates()
            if self.frozen_teacher is not None and self.objective.needs_teacher:
                active.teacher = self.frozen_teacher.forward(
                    x, self.objective.requests("teacher"), state=state
                )
        with running(active):
            yield active

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the total loss of a batch, and update the metrics of its parts.

        Args:
            x: The inputs.
            y: The labels, or None.
            y_pred: The student's outputs; computed where None.
            sample_weight: The weights, or None.
            training: Whether the step trains.

        Returns:
            Scalar tensor.
        """
        step = active_step(self)
        if step is None:
            return self._loss_outside_of_a_step(x, y, y_pred, sample_weight, training)
        task_loss = _backend.compiled_loss(self)
        task = ops.zeros(())
        if task_loss is not None and y is not None:
            task = ops.cast(task_loss(y, y_pred, sample_weight), "float32")
        penalty = sum(_backend.penalties(self), ops.zeros(()))
        if not step.distils:
            self._report({self.student_loss_tracker: task}, y_pred)
            return task + penalty
        terms = self.objective.terms(step, x, y, sample_weight)
        task_weight = step.values[id(self), "student_loss_weight"]
        weight = step.values.get((id(self), "distillation_weight"), 1.0 - task_weight)
        distillation = ops.zeros(())
        for place, term in enumerate(terms):
            key = id(self), f"distillation_loss_weights[{place}]"
            distillation += step.values[key] * term
        total = task_weight * task + weight * distillation + penalty
        if step.training and self.splits_gradients and not step.checks:
            total = self.on_task_part(task_weight * task + penalty, total, step)
        parts = {
            self.student_loss_tracker: task,
            self.distillation_loss_tracker: distillation,
            self.total_loss_tracker: total,
            **dict(zip(self.distillation_trackers, terms, strict=True)),
        }
        self._report(parts, y_pred)
        return total

    def _report(self, parts: dict[Any, Any], y_pred: Any) -> None:
        shares = ops.stack([ops.stop_gradient(part) for part in parts.values()])
        values = _backend.sum_over_replicas(shares)
        for place, tracker in enumerate(parts):
            tracker.update_state(values[place], sample_weight=batch_size(y_pred))

    def _loss_outside_of_a_step(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
    ) -> Any:
        batch = (x, y, sample_weight)
        if self.needs_first_batch():
            self.on_first_batch(batch)
        built = self.optimizer is not None and self.optimizer.built
        count = self.optimizer.iterations if built else 0
        with self.open_step(batch, training=training, step=count, state=()) as step:
            wanted = self.objective.requests("student")
            if y_pred is None or reads_inside(wanted, self.student, side="student"):
                y_pred = self.run_student(x, training=training)
            else:
                step.student = Recording(self.student, "student", output=y_pred)
            return self.compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Update the metrics given to `compile`, and return all of them."""
        if y is None:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the metrics; an evaluation without the teacher reports no zeros."""
        results = super().get_metrics_result()
        step = active_step(self)
        if step is not None and not step.distils and not step.training:
            hidden = {"distillation_loss", "total_loss", *self.objective.names}
            results = {k: v for k, v in results.items() if k not in hidden}
        return results

    def export(
        self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any
    ) -> None:
        """Export the student, with the arguments of `keras.Model.export`."""
        self.student.export(filepath, format=format, **kwargs)

    # Fitting

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train the student, as `keras.Model.fit` does."""
        if x is not None:
            check_inputs(x)  # before Keras makes arrays of it, with messages of its own
        given = fit_arguments(self, x, *args, **kwargs)
        if inspect.isgenerator(x) and self.compiled and self.needs_first_batch():
            given["x"] = self._with_first_batch_checked(x)
        with self._keeping_state():
            return super().fit(**given)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch, as `keras.Model.train_on_batch` does."""
        # Only the first step is guarded: copies of all values would slow down each.
        with self._keeping_state() if self.needs_first_batch() else nullcontext():
            return super().train_on_batch(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the student, as `keras.Model.evaluate` does."""
        given = evaluate_arguments(self, *args, **kwargs)
        with self._keeping_state():
            return super().evaluate(**given)

    def _with_first_batch_checked(self, batches: Iterator[Any]) -> Iterator[Any]:
        # A generator cannot be read twice: its first batch is put back.
        first = next(batches, None)
        if first is None:
            raise ValueError(
                "`x` must yield at least one batch. Received: an exhausted generator."
            )
        self.on_first_batch(first)

        def again() -> Iterator[Any]:
            yield first
            yield from batches

        return again()

    @contextmanager
    def _keeping_state(self) -> Iterator[None]:
        if self._kept_values is not None:  # an evaluation inside of `fit`
            yield
            return
        try:
            with _backend.preserve_state(self) as self._kept_values:
                yield
        finally:
            self._kept_values = None

    def on_built(self) -> None:
        """Keep the values of what the first batch has built, too."""
        if self._kept_values is not None:
            self._kept_values.keep()

    def on_step_done(self) -> None:
        """Note that the first step is complete: from now on the student changes."""
        if self._kept_values is not None:
            self._kept_values.step_done()

    def needs_first_batch(self) -> bool:
        """Say whether models and losses have not yet seen a batch."""
        return not self._checked

    def on_first_batch(self, batch: Any) -> None:
        """Build and check models and losses on a batch, without effect on them."""
        check_batch(self, self.prepare_batch(batch))
        self.check_followers()  # again, now that the student has its weights
        self.loss_layers.hold(self.objective.layers())
        self._checked = True

    @contextmanager
    def building(self) -> Iterator[None]:
        """Open the scope in which Keras builds the task loss and the metrics."""
        with running(ActiveStep(self, training=False, distils=False)):
            yield

    @property
    def reads_labels(self) -> bool:
        """Whether metrics were compiled that need labels."""
        return _backend.reads_labels(self)
