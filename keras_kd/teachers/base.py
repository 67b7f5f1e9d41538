"""Where targets come from: the base of all teachers."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd.signals.recording import Recording


class Teacher:
    """Base class of what a student learns from.

    A teacher is anything that gives signals for a batch: a trained model, a function,
    rows of a table, the student's own average. To write one, override `signals`; for a
    teacher that only has outputs, the recording needs nothing else:

        def signals(self, x, requests, *, fed, check_calls):
            return keras_kd.signals.Recording(None, "teacher", output=fed)

    The Distiller calls `signals` without gradient and drops all updates of variables:
    whatever a teacher does in it, it is not changed. What must be looked up on the host
    (stored rows, by the numbers of the examples) is looked up in `on_batch`, whose
    result travels with the batch into the compiled step. What follows the student
    changes in `after_update` or between epochs, and lists its variables in `state`.

    A teacher with a `get_config` that is registered with Keras is saved in the
    Distiller's own file; of any other, loading asks for it.

    Attributes:
        follows_student: Whether the teacher is made of the student and changes with
            it. It is then always a part of the Distiller's file.
    """

    _hyperparameters: tuple[str, ...] = ()

    follows_student: bool = False

    def given(self) -> Any:
        """Return what the user gave: `distiller.teacher`."""
        return self

    def network(self) -> keras.layers.Layer | None:
        """Return the Keras layer inside of which a `Tap` finds its layer, or None."""
        return None

    @property
    def ready(self) -> bool:
        """Whether the teacher has its variables."""
        return True

    @property
    def frozen_variables(self) -> list[keras.Variable]:
        """The variables that `signals` reads and that no step changes."""
        return []

    @property
    def state(self) -> list[keras.Variable]:
        """The variables that training changes; saved with the Distiller's own."""
        return []

    @property
    def acts_after_update(self) -> bool:
        """Whether `after_update` has anything to do."""
        return type(self).after_update is not Teacher.after_update

    @property
    def reads_batches(self) -> bool:
        """Whether `on_batch` has anything to do."""
        return type(self).on_batch is not Teacher.on_batch

    @property
    def acts_between_epochs(self) -> bool:
        """Whether `on_epoch_begin` or `on_epoch_end` has anything to do."""
        mine, base = type(self), Teacher
        return (
            mine.on_epoch_begin is not base.on_epoch_begin
            or mine.on_epoch_end is not base.on_epoch_end
        )

    def bind(self, student: keras.Model) -> None:
        """Learn which student there is, before training and once it is built.

        Args:
            student: The student.

        Raises:
            ValueError: If the teacher cannot teach it.
        """

    def on_batch(self, x: Any, y: Any, sample_weight: Any, sample_ids: Any) -> Any:
        """Return what must travel with a batch, on the host, before the step.

        It may be asked twice for the first batch. It must not read variables: while
        JAX trains they have no values.

        Args:
            x: The batch's inputs: arrays or tensors, of which one replica's share.
            y: Its labels, or None.
            sample_weight: Its weights, or None.
            sample_ids: The numbers of its examples as a NumPy array of integers, where
                the Distiller was given `sample_ids=`, else None.

        Returns:
            A structure of arrays whose first axis is the batch, or None.
        """
        del x, y, sample_weight, sample_ids
        return None

    def signals(
        self, x: Any, requests: Sequence[Any], *, fed: Any, check_calls: bool
    ) -> Recording:
        """Return the recording of the teacher's answer to a batch, in the step.

        Args:
            x: The batch's inputs, after `teacher_inputs`.
            requests: The signals that the losses want.
            fed: What `on_batch` returned, as tensors.
            check_calls: Whether to refuse taps that no step could serve; True on the
                first batch only.

        Returns:
            The recording.
        """
        raise NotImplementedError(f"{type(self).__name__} must override `signals`.")

    def after_update(self, student: keras.Model, step: Any, updated: Any) -> None:
        """Change `state` in the step, after the optimizer's update.

        Args:
            student: The student.
            step: The step; `step.value(self, name)` is the value of a hyperparameter.
            updated: Scalar tensor of type bool, whether the step changed the student.
        """

    def on_epoch_begin(self, epoch: int, student: keras.Model) -> None:
        """Change between epochs, on the host; called by `fit`.

        Args:
            epoch: The number of the epoch that begins, from 0.
            student: The student, with the values of this moment.
        """

    def on_epoch_end(self, epoch: int, student: keras.Model) -> None:
        """Change between epochs, on the host; called by `fit`.

        Args:
            epoch: The number of the epoch that ends, from 0.
            student: The student, with the values of this moment.
        """


def takes_training(function: Callable[..., Any]) -> bool:
    """Say whether a function has an argument `training`."""
    try:
        return "training" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin has no signature
        return False
