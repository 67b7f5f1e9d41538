"""One step: a batch goes down, once.

    batch ─► teacher's signals ─► student ─► losses ─► reduction ─► total loss

The teacher's signals are computed before Keras differentiates, the student's while it
does, and the losses when Keras asks for the loss: three moments of one step, of which
Keras passes nothing on from one to the next.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from keras_kd import _backend
from keras_kd.engine.objective import Objective
from keras_kd.signals.recording import Recording, as_recording, recording
from keras_kd.teachers.base import Teacher


@dataclass
class Step:
    """One train or test step of one Distiller.

    Attributes:
        owner: The Distiller.
        training: True in a train step.
        distils: False while Keras builds, and in an evaluation without the teacher.
        number: The optimizer's step.
        updates: How often the optimizer had updated before the step, where a teacher
            follows the student.
        values: The present values of the hyperparameters.
        fed: What the teacher's `on_batch` gave for the batch.
        sample_ids: The numbers of the batch's examples, or None.
        teacher: The recording of the teacher's forward pass, or None.
        student: The recording of the student's, once it has run.
        padding: The padding mask in the inputs of "teacher" and "student".
        checks: Whether this is the check of the first batch.
        closures: Pairs of variables that only closures reach, and their values.
        noted: On the first batch, a list of the variables that were read.
        tape: What records the step for a second gradient, on TensorFlow.
        task_part: The part of the loss that is the task's, on JAX.
    """

    owner: Any
    training: bool
    distils: bool = True
    number: Any = None
    updates: Any = None
    values: dict[tuple[int, str], Any] = field(default_factory=dict)
    fed: Any = None
    sample_ids: Any = None
    teacher: Recording | None = None
    student: Recording | None = None
    padding: dict[str, Any] = field(default_factory=dict)
    checks: bool = False
    closures: list[Any] = field(default_factory=list)
    noted: list[keras.Variable] | None = None
    tape: Any = None
    task_part: Any = None

    def value(self, owner: Any, name: str) -> Any:
        """Return the value of a hyperparameter of `owner` in this step."""
        return self.values[id(owner), name]


# Keras calls `call` and `compute_loss` of the Distiller inside its own step, and has no
# argument to hand the step over by. Replicas of `tf.distribute` run the same step of
# the same Distiller in threads of their own.
_running = threading.local()


@contextmanager
def running(step: Step) -> Iterator[Step]:
    """Make `step` the one that `running_step` returns for its owner in this thread."""
    stack = _running.__dict__.setdefault("stack", [])
    stack.append(step)
    try:
        yield step
    finally:
        stack.pop()


def running_step(owner: Any) -> Step | None:
    """Return the step of `owner` that is running in this thread, or None."""
    stack = _running.__dict__.get("stack")
    return stack[-1] if stack and stack[-1].owner is owner else None


def teacher_signals(
    teacher: Teacher,
    x: Any,
    requests: Sequence[Any],
    *,
    state: Sequence[tuple[keras.Variable, Any]] = (),
    fed: Any = None,
    check_calls: bool = False,
    noted: list[keras.Variable] | None = None,
) -> Recording:
    """Return what a teacher says of a batch, without gradient and without effect.

    Whatever it updates while it runs (statistics, seeds, counters) goes into a scope
    and is dropped with it.

    Args:
        teacher: The teacher.
        x: Its inputs.
        requests: The signals that the losses want.
        state: Pairs of variables and their values, where these are not in place.
        fed: What its `on_batch` gave.
        check_calls: Whether to refuse taps inside of loops.
        noted: A list to add the variables to that are read, or None.

    Returns:
        The recording.
    """
    with _backend.no_gradient(), _backend.reading(state, noted):
        given = teacher.signals(x, requests, fed=fed, check_calls=check_calls)
    return as_recording(given, teacher)


def run_student(
    student: keras.Model, x: Any, step: Step, requests: Sequence[Any], **kwargs: Any
) -> Any:
    """Run the student once, and record in the step what the losses want of it."""
    with recording(
        student, requests, side="student", check_calls=step.checks
    ) as record:
        record.output = student(x, **kwargs)
    step.student = record
    return record.output


@dataclass
class Total:
    """The loss of a batch and its parts.

    Attributes:
        loss: student_loss_weight · task + distillation_weight · Σ wᵢ · Lᵢ + penalties.
        task_part: The part of it that comes from labels and penalties.
        task: The task loss, unweighted.
        distillation: Σ wᵢ · Lᵢ.
        terms: Each Lᵢ.
    """

    loss: Any
    task_part: Any
    task: Any
    distillation: Any
    terms: list[Any]


def total_loss(
    objective: Objective,
    step: Step,
    batch: tuple[Any, Any, Any],
    *,
    task: Any,
    penalty: Any,
    loss_weights: Sequence[Any],
) -> Total:
    """Return the total loss of a batch.

    Args:
        objective: The distillation losses.
        step: The step, in which both sides have run.
        batch: x, y and sample_weight, the last as far as distillation counts it.
        task: The task loss, unweighted.
        penalty: The student's regularisers and `add_loss` terms.
        loss_weights: The owners of the weights wᵢ.
    """
    terms = objective.terms(step, objective.reads(step, batch))
    distillation = ops.zeros(())
    for part, term in zip(loss_weights, terms, strict=True):
        distillation += step.value(part, "value") * term
    task_weight = step.value(step.owner, "student_loss_weight")
    weight = step.values.get((id(step.owner), "distillation_weight"), 1.0 - task_weight)
    task_part = task_weight * task + penalty
    return Total(
        task_part + weight * distillation, task_part, task, distillation, terms
    )
