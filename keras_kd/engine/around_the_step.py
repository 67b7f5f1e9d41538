"""What some students, teachers and optimizers need around the step."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_kd.engine.active_step import active_step
from keras_kd.optimizers.wrapped import inner_optimizer

# A mixin that stands before the trainer among the bases of the Distiller.
if TYPE_CHECKING:
    from keras_kd._backend import DistillationTrainer as Trainer
else:
    Trainer = object


class AroundTheStep(Trainer):
    """Labels for several students, a teacher that follows, gradients of two kinds."""

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
        """Give the labels to each output of a student that is several in one."""
        share_labels = getattr(self.student, "share_labels", None)
        if share_labels is None:
            return batch
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        return x, share_labels(y), sample_weight

    @property
    def acts_after_update(self) -> bool:
        """Whether something follows the student."""
        return self.moving_average is not None

    def after_update(self) -> None:
        """Let a moving average follow the student that an update has changed."""
        follower, step = self.moving_average, active_step(self)
        if follower is not None and step is not None:
            follower.follow(self.student, step.values[id(follower), "momentum"])
