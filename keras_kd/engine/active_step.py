"""The step that is running now.

What the teacher said and what the student's layers produced belong to one step. They
are kept beside the batch for its duration, and not inside of it: every hook of Keras
then sees the user's own `x`, `y` and `sample_weight`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from keras_kd.signals.recording import Recording


@dataclass
class ActiveStep:
    """One train or test step of one Distiller.

    Attributes:
        owner: The Distiller.
        training: True in a train step.
        distils: False while Keras builds, and in an evaluation without the teacher.
        teacher: The recording of the teacher's forward pass, or None.
        student: The recording of the student's, once it has run.
        step: The optimiser's step.
        updates: How often the optimiser had updated before the step, where something
            follows the student.
        values: The present values of the hyperparameters.
        checks: Whether this is the check of the first batch, outside of a real step.
        tape: What records the step for a second gradient, on TensorFlow.
    """

    owner: Any
    training: bool
    distils: bool = True
    teacher: Recording | None = None
    student: Recording | None = None
    step: Any = None
    updates: Any = None
    values: dict[tuple[int, str], Any] = field(default_factory=dict)
    checks: bool = False
    tape: Any = None


# Replicas of `tf.distribute` run the same step in threads of their own.
_running = threading.local()


@contextmanager
def running(step: ActiveStep) -> Iterator[ActiveStep]:
    """Make `step` the one that `active_step` returns for its owner in this thread."""
    stack = _running.__dict__.setdefault("stack", [])
    stack.append(step)
    try:
        yield step
    finally:
        stack.pop()


def active_step(owner: Any) -> ActiveStep | None:
    """Return the step of `owner` that is running in this thread, or None."""
    stack = getattr(_running, "stack", None)
    return stack[-1] if stack and stack[-1].owner is owner else None
