"""What a Distiller is made of, and what happens around its steps.

The trainers of the three backends call this; they differ in how they differentiate,
and in nothing that is decided here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.data.fit_arguments import labels_and_weights
from keras_kd.data.inputs import Inputs
from keras_kd.engine.names import check_apart
from keras_kd.engine.objective import Objective
from keras_kd.engine.owned_layers import OwnedLayers
from keras_kd.engine.step import Step, running, running_step, teacher_signals
from keras_kd.hyperparameters import LossWeights, Values, parts_in
from keras_kd.optimizers.base import as_distillation_optimizer
from keras_kd.students.base import Student
from keras_kd.teachers.base import Teacher


class Engine:
    """The parts of one Distiller, and what its steps need of them.

    Args:
        distiller: The Distiller.
        teacher: The teacher, or None.
        student: The student.
        objective: The distillation losses.
        weights: The weight of each.
        inputs: What each side gets of a batch.
    """

    def __init__(
        self,
        distiller: Any,
        teacher: Teacher | None,
        student: Student,
        objective: Objective,
        weights: LossWeights,
        inputs: Inputs,
    ) -> None:
        self.distiller = distiller
        self.teacher, self.student = teacher, student
        self.objective, self.weights, self.inputs = objective, weights, inputs
        self.layers = OwnedLayers("loss_layers")
        self.teacher_state = OwnedLayers("teacher_state")
        self.checked = False
        # Variables that are reached by closures only, found on the first batch.
        self.closures: list[keras.Variable] = []
        self._kept_values: Any = None
        if teacher is not None and teacher.given() is student.network():
            raise ValueError(
                "`teacher` must be another model than `student`: what teaches is never "
                f"changed. Received: {student.network().name!r} for both. Copy it by "
                "`keras.models.clone_model` and `set_weights`, or follow it by "
                "`keras_kd.teachers.MovingAverage(student)`."
            )
        if teacher is None and objective.needs_teacher:
            raise ValueError(
                "`teacher` must be given, because a distillation loss reads it. "
                f"Received: teacher=None with {objective.names}"
            )
        self.bind_teacher()
        self.bind_losses()
        self.find_parts()

    # The parts

    def bind_teacher(self) -> None:
        """Show the student to the teacher, and refuse one that could not follow it.

        Raises:
            ValueError: If it cannot teach this student, or if it would follow the
                student but is inside of another teacher.
        """
        if self.teacher is None:
            return
        self.teacher.bind(self.student.network())
        network = self.teacher.network()
        if network is None:
            return
        for part in _backend.parts_of(network)[1:]:
            if isinstance(part, Teacher) and part.follows_student:
                kind = type(part).__name__
                raise ValueError(
                    f"A {kind} must be the teacher itself: inside of another "
                    f"it never moves. Received: a {kind} in the "
                    f"{type(network).__name__} {network.name!r}. Pass its "
                    "`model` where it should stand still."
                )

    def bind_losses(self) -> None:
        """Find the layers that the losses name, as far as the models are built."""
        try:
            self.objective.bind(self.teacher_network, self.student.network())
        except ValueError:
            ready = self.teacher is None or self.teacher.ready
            if ready and _backend.is_built(self.student.network()):
                raise
            # The layers may appear when the first batch builds the models.

    def find_parts(self) -> None:
        """Find all owners of hyperparameters, and all layers that the losses own."""
        parts = [self.distiller, *self.weights.parts]
        parts += parts_in(self.objective.losses, self.teacher)
        self.values = Values(parts, self.trace_again)
        models = [self.teacher_network, self.student.network()]
        self.layers.hold(self.objective.layers(models))
        if self.teacher is not None:
            self.teacher_state.hold_state(self.teacher.state)

    def trace_again(self) -> None:
        """Compile anew what is compiled, for what only a new trace can follow."""
        if self.distiller.train_function is not None:
            self.distiller.make_train_function(force=True)
        if self.distiller.test_function is not None:
            self.distiller.make_test_function(force=True)

    @property
    def teacher_network(self) -> Any:
        """The Keras layer of the teacher that layers are tapped in, or what it is."""
        if self.teacher is None:
            return None
        network = self.teacher.network()
        return self.teacher.given() if network is None else network

    @property
    def reads_teacher(self) -> bool:
        """Whether any loss reads the teacher."""
        return self.teacher is not None and self.objective.needs_teacher

    def frozen_variables(self) -> list[keras.Variable]:
        """List what a step reads and no step changes: teacher and hyperparameters."""
        # A layer that both models share belongs to the student.
        own = {id(variable) for variable in self.distiller.variables}
        teacher = [] if self.teacher is None else self.teacher.frozen_variables
        frozen = [*self.values.variables, *teacher, *self.closures]
        return list({id(v): v for v in frozen if id(v) not in own}.values())

    # The optimizer

    @property
    def optimizer(self) -> Any:
        """The optimizer, in the form that says what it wants of a step."""
        return as_distillation_optimizer(self.distiller.optimizer)

    @property
    def splits_gradients(self) -> bool:
        """Whether the optimizer wants the gradient of the task apart."""
        return bool(self.optimizer.wants_task_gradients)

    @property
    def scale_adapts(self) -> bool:
        """Whether gradients that are not finite make the optimizer scale less."""
        return isinstance(self.distiller.optimizer, keras.optimizers.LossScaleOptimizer)

    def give_task_gradients(self, gradients: Sequence[Any], scale: Any) -> None:
        """Hand the gradients of the task to the optimizer, for this step.

        Args:
            gradients: One for each trainable variable, or None.
            scale: What the optimizer has scaled the loss by.
        """
        self.optimizer.task_gradients = [
            None if gradient is None else gradient / ops.cast(scale, gradient.dtype)
            for gradient in gradients
        ]

    def optimizer_step(self) -> Any:
        """Return how many steps the optimizer has taken."""
        optimizer = self.distiller.optimizer
        if optimizer is None or not optimizer.built:
            return 0
        return ops.convert_to_tensor(optimizer.iterations)

    # A step

    def prepare_batch(self, batch: Any) -> tuple[Any, Any, Any]:
        """Return (x, y, sample_weight) as Keras's trainer takes them.

        The labels go to each output of a student that is several in one, and weights
        that came in the place of the labels to their own.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        y, sample_weight = labels_and_weights(y, sample_weight)
        return x, self.student.share_labels(y), sample_weight

    @property
    def reads_batches(self) -> bool:
        """Whether the teacher looks at batches on the host."""
        return self.teacher is not None and self.teacher.reads_batches

    def on_batch(self, batch: Any, *, training: bool) -> Any:
        """Return what must travel with a batch, on the host, before the step."""
        distils = training or self.distiller.evaluate_distillation
        if self.teacher is None or not self.reads_batches or not distils:
            return None
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        ids = self.inputs.sample_ids_on_host(x)
        return self.teacher.on_batch(x, y, sample_weight, ids)

    @contextmanager
    def open_step(
        self,
        batch: Any,
        *,
        training: bool,
        number: Any,
        state: Sequence[tuple[keras.Variable, Any]] = (),
        fed: Any = None,
    ) -> Iterator[Step]:
        """Open a step: the teacher gives its signals here, before Keras differentiates.

        Args:
            batch: (x, y, sample_weight).
            training: Whether the step trains.
            number: The optimizer's step.
            state: Pairs of variables and their values, where these are not in place.
            fed: What `on_batch` gave for the batch.
        """
        step = Step(self.distiller, training=training, number=number, fed=fed)
        step.distils = training or self.distiller.evaluate_distillation
        if step.distils:
            with _backend.reading(state):
                step.values = self.values.at(number)
                if training and self.acts_after_update:
                    # A copy, because torch counts on in the same tensor.
                    step.updates = ops.copy(self.optimizer.updates)
            closures = {id(variable) for variable in self.closures}
            step.closures = [pair for pair in state if id(pair[0]) in closures]
            self.teach(step, batch[0], state)
        with running(step):
            yield step

    def teach(
        self, step: Step, x: Any, state: Sequence[tuple[keras.Variable, Any]] = ()
    ) -> None:
        """Record in the step what the teacher says of a batch, and who is who."""
        step.sample_ids = self.inputs.sample_ids(x)
        if not self.reads_teacher or self.teacher is None:
            return
        with _backend.no_gradient(), _backend.reading(state, step.noted):
            x = self.inputs.of("teacher", x)
        step.padding["teacher"] = self.inputs.padding(x)
        step.teacher = teacher_signals(
            self.teacher,
            x,
            self.objective.requests("teacher"),
            state=state,
            fed=step.fed,
            check_calls=step.checks,
            noted=step.noted,
        )

    @property
    def acts_after_update(self) -> bool:
        """Whether the teacher follows the student."""
        return self.teacher is not None and self.teacher.acts_after_update

    def after_update(self) -> None:
        """Let the teacher follow the student that an update has changed."""
        step = running_step(self.distiller)
        if step is not None and self.teacher is not None and self.acts_after_update:
            updated = ops.not_equal(self.optimizer.updates, step.updates)
            self.teacher.after_update(self.student.network(), step, updated)

    # Around the steps

    @contextmanager
    def building(self) -> Iterator[None]:
        """Open the scope in which Keras builds the task loss and the metrics."""
        with running(Step(self.distiller, training=False, distils=False)):
            yield

    def on_built(self) -> None:
        """Keep the values of what the first batch has built, and check all names."""
        if self._kept_values is not None:
            self._kept_values.keep()
        names = _backend.metric_names(self.distiller)
        check_apart(self.objective.names, names)

    def on_step_done(self) -> None:
        """Note that the first step is complete: from now on the student changes."""
        if self._kept_values is not None:
            self._kept_values.step_done()

    @contextmanager
    def keeping_state(self) -> Iterator[None]:
        """Give all variables their values back where an error leaves the scope."""
        if self._kept_values is not None:  # an evaluation inside of `fit`
            yield
            return
        try:
            with _backend.preserve_state(self.distiller) as self._kept_values:
                yield
        finally:
            self._kept_values = None
