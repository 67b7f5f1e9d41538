"""The one class that users meet."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.data.check_inputs import check_inputs
from keras_kd.data.fit_arguments import (
    fit_arguments,
    with_first_batch,
    with_weights_placed,
)
from keras_kd.data.inputs import Inputs
from keras_kd.data.task_labels import task_counts
from keras_kd.engine import saving
from keras_kd.engine.between_epochs import TeacherBetweenEpochs
from keras_kd.engine.engine import Engine
from keras_kd.engine.first_batch import check_first_batch
from keras_kd.engine.objective import Objective, batch_size
from keras_kd.engine.step import (
    Step,
    run_student,
    running_step,
    total_loss,
)
from keras_kd.engine.task import check_own_training, task_of
from keras_kd.hyperparameters import Hyperparameter, LossWeights, Scalar
from keras_kd.losses.logits import LogitsDistillation
from keras_kd.signals.recording import Recording, reads_inside
from keras_kd.students.base import as_student
from keras_kd.teachers.function import as_teacher


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(_backend.DistillationTrainer, keras.Model):
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
            `keras.Model`, a layer, a function of the inputs, a
            `keras_kd.teachers.Teacher`, or None where no loss reads it.
        student: The `keras.Model` to train. It stays a plain Keras model.
        distillation_losses: A `DistillationLoss` or a list of them. Defaults to None:
            a `LogitsDistillation` with its defaults.
        distillation_loss_weights: One weight wᵢ ≥ 0 per loss; 1 each by default.
        student_loss_weight: Weight of the task loss, from 0 to 1. Defaults to 0.5.
        name: Name of the Distiller.
        distillation_weight: Weight of the distillation losses, at least 0. None
            stands for 1 − student_loss_weight.
        teacher_inputs: A function from the batch's x to the teacher's inputs.
        student_inputs: The same for the student; `predict` applies it too.
        evaluate_distillation: Whether `evaluate` runs the teacher and reports the
            distillation losses. Without, `loss` in evaluation is the student's alone.
        save_teacher: Whether the Distiller's own file holds the teacher, where it can
            be serialised.
        sample_ids: The key of x that holds the number of each example, or a function
            from x to them: for teachers and losses that must know them again.
        padding_mask: The key of a side's inputs that holds their mask, True where a
            position counts, or a function from the inputs to it. What is masked counts
            in no distillation loss. Defaults to None: "padding_mask", as KerasHub
            names it, where there is such a key.
        **kwargs: Passed on to `keras.Model`.

    Every weight is a number or a `keras.optimizers.schedules.LearningRateSchedule`,
    read at the optimizer's step; a new value may be assigned between steps.

    Raises:
        ValueError: If an argument is none of these.

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
        distillation_losses: Any = None,
        distillation_loss_weights: Sequence[Scalar] | None = None,
        student_loss_weight: Scalar = 0.5,
        name: str = "distiller",
        *,
        distillation_weight: Scalar | None = None,
        teacher_inputs: Callable[[Any], Any] | None = None,
        student_inputs: Callable[[Any], Any] | None = None,
        evaluate_distillation: bool = True,
        save_teacher: bool = True,
        sample_ids: Callable[[Any], Any] | str | None = None,
        padding_mask: Callable[[Any], Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        trained = as_student(student)
        inputs = Inputs(teacher_inputs, student_inputs, sample_ids, padding_mask)
        kwargs.setdefault("dtype", student.dtype_policy)
        # The student casts its own inputs; casting the batch here would round token
        # ids and labels to half precision.
        super().__init__(name=name, autocast=False, **kwargs)
        self.student = student
        self.evaluate_distillation = bool(evaluate_distillation)
        self.save_teacher = bool(save_teacher)
        if distillation_losses is None:
            distillation_losses = LogitsDistillation()
        objective = Objective(distillation_losses)
        weights = LossWeights(objective.weights(distillation_loss_weights))
        self.student_loss_weight = student_loss_weight
        self.distillation_weight = distillation_weight
        self._engine = Engine(
            self, as_teacher(teacher), trained, objective, weights, inputs
        )
        self._loss_layers = self._engine.layers
        self._teacher_state = self._engine.teacher_state
        names = ("student_loss", "distillation_loss", "total_loss", *objective.names)
        self._trackers = [keras.metrics.Mean(name=name) for name in names]
        # There is nothing to build but the student, which its weights can be loaded
        # into before any batch.
        self.built = _backend.is_built(student)

    @property
    def distillation_losses(self) -> list[Any]:
        """The distillation losses, as they were given."""
        return list(self._engine.objective.given)

    @property
    def distillation_loss_weights(self) -> Sequence[Any]:
        """The weight of each distillation loss; its items may be assigned."""
        return self._engine.weights

    @distillation_loss_weights.setter
    def distillation_loss_weights(self, weights: Sequence[Scalar]) -> None:
        for index, weight in enumerate(self._engine.objective.weights(weights)):
            self._engine.weights[index] = weight

    @property
    def teacher(self) -> Any:
        """The teacher, as it was given."""
        teacher = self._engine.teacher
        return None if teacher is None else teacher.given()

    @property
    def teacher_inputs(self) -> Callable[[Any], Any] | None:
        """The function from the batch's x to the teacher's inputs."""
        return self._engine.inputs.functions["teacher"]

    @property
    def student_inputs(self) -> Callable[[Any], Any] | None:
        """The function from the batch's x to the student's inputs."""
        return self._engine.inputs.functions["student"]

    @property
    def sample_ids(self) -> Callable[[Any], Any] | str | None:
        """Where the numbers of the examples are found in the batch's x."""
        return self._engine.inputs.given_sample_ids

    @property
    def padding_mask(self) -> Callable[[Any], Any] | str | None:
        """Where the padding mask is found in the inputs of a side."""
        return self._engine.inputs.given_padding_mask

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
        check_own_training(self.student, loss)
        _backend.forget_compiled(self)
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=self._engine.student.share_metrics(metrics),
            weighted_metrics=self._engine.student.share_metrics(weighted_metrics),
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        self._engine.optimizer.bind(self.student)
        self._engine.checked = False

    @property
    def output_names(self) -> Any:
        """The names of the student's outputs, by which losses may be given."""
        names = getattr(self.student, "output_names", None)
        if names is None:
            raise AttributeError("the student's outputs have no names")
        return names

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """Return the student's outputs, and record in a step what the losses want."""
        engine, step = self._engine, running_step(self)
        kwargs["training"] = training
        if step is None or not step.distils:
            return self.student(engine.inputs.of("student", inputs), **kwargs)
        _backend.map_also(step.closures)
        inputs = engine.inputs.of("student", inputs)
        step.padding["student"] = engine.inputs.padding(inputs)
        wanted = engine.objective.requests("student")
        return run_student(self.student, inputs, step, wanted, **kwargs)

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
        engine, step = self._engine, running_step(self)
        if step is None:
            return self._loss_outside_of_a_step(x, y, y_pred, sample_weight, training)
        _backend.map_also(step.closures)
        task = task_of(self, x, y, y_pred, sample_weight, training=training)
        penalty = sum(_backend.penalties(self), ops.zeros(()))
        if not step.distils:
            self._report([task], y_pred)
            return task + penalty
        total = total_loss(
            engine.objective,
            step,
            (x, y, task_counts(self.loss, y, sample_weight)),
            task=task,
            penalty=penalty,
            loss_weights=engine.weights.parts,
        )
        loss = total.loss
        if step.training and engine.splits_gradients:
            loss = self._on_task_part(total.task_part, loss, step)
        self._report([task, total.distillation, loss, *total.terms], y_pred)
        return loss

    def _report(self, parts: list[Any], y_pred: Any) -> None:
        shares = ops.stack([ops.stop_gradient(part) for part in parts])
        values = _backend.sum_over_replicas(shares)
        count = batch_size(y_pred)
        for index, tracker in enumerate(self._trackers[: len(parts)]):
            tracker.update_state(values[index], sample_weight=count)

    def _loss_outside_of_a_step(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
    ) -> Any:
        engine, batch = self._engine, (x, y, sample_weight)
        if not engine.checked:
            self._on_first_batch(batch)
        with engine.open_step(
            batch,
            training=training,
            number=engine.optimizer_step(),
            fed=_backend.as_tensors(engine.on_batch(batch, training=training)),
        ) as step:
            wanted = engine.objective.requests("student")
            if y_pred is None or reads_inside(wanted, self.student, side="student"):
                y_pred = self(x, training=training)
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
        step: Step | None = running_step(self)
        if step is not None and not step.distils and not step.training:
            hidden = {tracker.name for tracker in self._trackers[1:]}
            results = {k: v for k, v in results.items() if k not in hidden}
        return results

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Export the student, with the arguments of `keras.Model.export`."""
        self.student.export(filepath, format, verbose, input_signature, **kwargs)

    # Fitting

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """Train the student, as `keras.Model.fit` does."""
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if x is not None:
            check_inputs(x)  # before Keras makes arrays of it, with messages of its own
        given = fit_arguments(given)
        if inspect.isgenerator(x) and self.compiled and not self._engine.checked:
            given["x"] = with_first_batch(x, self._on_first_batch)
        given["callbacks"] = TeacherBetweenEpochs(self._engine).beside(callbacks)
        with self._engine.keeping_state():
            return super().fit(**given)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Train on one batch, as `keras.Model.train_on_batch` does."""
        # Only the first step is guarded: copies of all values would slow down each.
        first = not self._engine.checked
        with self._engine.keeping_state() if first else nullcontext():
            return super().train_on_batch(
                x, y, sample_weight, class_weight, return_dict=return_dict
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Evaluate the student, as `keras.Model.evaluate` does."""
        given = with_weights_placed({"x": x, "y": y, "sample_weight": sample_weight})
        with self._engine.keeping_state():
            return super().evaluate(
                **given,
                batch_size=batch_size,
                verbose=verbose,
                steps=steps,
                callbacks=callbacks,
                return_dict=return_dict,
                **kwargs,
            )

    def _on_first_batch(self, batch: Any) -> None:
        """Build and check models and losses on a batch, without effect on them."""
        check_first_batch(self._engine, batch)
        self._engine.checked = True

    # Saving

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes, in JSON form."""
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, **saving.config_of(self, self._engine)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Return the Distiller that `get_config` described."""
        # A scope takes the place of the one around it: without need there is none.
        scope = keras.saving.custom_object_scope(custom_objects)
        with scope if custom_objects else nullcontext():
            return cls(**saving.arguments_from(config))

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved Distiller was, and make room for its optimizer state."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        saving.build_optimizer(self, self._engine)

    def get_build_config(self) -> dict[str, Any] | None:
        """Return the shapes of the signals, from which the projectors are rebuilt."""
        return saving.build_config_of(self._engine)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Create the projectors of a saved Distiller."""
        saving.build_losses(self._engine, config)
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Save the seeds and the shapes of the signals."""
        saving.save_seeds(self, self._engine, store)

    def load_own_variables(self, store: Any) -> None:
        """Load the seeds, and make room for projectors and the optimizer's state."""
        saving.load_seeds(self, self._engine, store)

    def __setattr__(self, name: str, value: Any) -> None:
        engine = self.__dict__.get("_engine")
        if engine is not None and name in ("teacher", "student"):
            raise AttributeError(
                f"`{name}` of a Distiller cannot be replaced. Received: {value!r}. "
                "Build another Distiller."
            )
        super().__setattr__(name, value)
        if engine is not None and name == "evaluate_distillation":
            engine.trace_again()

    def __dir__(self) -> list[str]:
        # Keras saves what `dir` lists.
        names = super().__dir__()
        engine = self.__dict__.get("_engine")
        if engine is not None and not saving.holds_teacher(self, engine):
            names = [name for name in names if name != "teacher"]
        return list(names)
