"""What some students, teachers and optimizers need around the step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.engine.active_step import active_step
from keras_kd.engine.fit_data import labels_and_weights
from keras_kd.optimizers.wrapped import inner_optimizer
from keras_kd.teachers.own_weights import OwnWeights

# A mixin that stands before the trainer among the bases of the Distiller.
if TYPE_CHECKING:
    from keras_kd._backend import DistillationTrainer as Trainer
else:
    Trainer = object


class AroundTheStep(Trainer):
    """Labels for several students, a teacher that follows, gradients of two kinds."""

    teacher: Any
    student: Any
    moving_average: Any
    optimizer: Any

    @property
    def splits_gradients(self) -> bool:
        """Whether the optimizer wants the gradient of the task apart."""
        return hasattr(inner_optimizer(self.optimizer), "task_gradients")

    def give_task_gradients(self, gradients: Sequence[Any], scale: Any) -> None:
        """Hand the gradients of the task to the optimizer, for this step."""
        inner_optimizer(self.optimizer).task_gradients = [
            None if gradient is None else gradient / ops.cast(scale, gradient.dtype)
            for gradient in gradients
        ]

    def introduce(self, optimizer: Any) -> None:
        """Show the student to an optimizer that asks for it."""
        bind = getattr(inner_optimizer(optimizer), "bind", None)
        if bind is not None:
            bind(self.student)

    def shared_metrics(self, metrics: Any) -> Any:
        """Return the metrics, for each of the students where there are several."""
        share = getattr(self.student, "share_metrics", None)
        return metrics if share is None else share(metrics)

    def prepare_batch(self, batch: Any) -> Any:
        """Return (x, y, sample_weight) as the trainer takes them.

        The labels go to each output of a student that is several in one, and weights
        that came in the place of the labels to their own.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        y, sample_weight = labels_and_weights(y, sample_weight)
        share_labels = getattr(self.student, "share_labels", None)
        return x, y if share_labels is None else share_labels(y), sample_weight

    def check_followers(self) -> None:
        """Raise where a teacher that should follow the student could not.

        Raises:
            ValueError: It is inside of another teacher, or of another student.
        """
        teacher = self.teacher
        if isinstance(teacher, OwnWeights):
            teacher.check_student(self.student)
        elif isinstance(teacher, keras.layers.Layer):
            for part in _backend.parts_of(teacher):
                if isinstance(part, OwnWeights):
                    kind = type(part).__name__
                    raise ValueError(
                        f"A {kind} must be the teacher itself: inside of another "
                        f"it never moves. Received: a {kind} in the "
                        f"{type(teacher).__name__} {teacher.name!r}. Pass its "
                        "`model` where it should stand still."
                    )

    @property
    def acts_after_update(self) -> bool:
        """Whether something follows the student."""
        return self.moving_average is not None

    def count_updates(self) -> Any:
        """Return how often the optimizer has changed the student, by now."""
        optimizer = self.optimizer
        # Its parts may accumulate over different numbers of steps.
        parts = getattr(inner_optimizer(optimizer), "updates", None)
        # A copy, because torch counts on in the same tensor.
        return ops.copy(optimizer.iterations if parts is None else parts)

    def after_update(self) -> None:
        """Let a moving average follow the student that an update has changed."""
        follower, step = self.moving_average, active_step(self)
        if follower is not None and step is not None:
            momentum = step.values[id(follower), "momentum"]
            updated = ops.not_equal(self.count_updates(), step.updates)
            follower.follow(self.student, momentum, updated)
