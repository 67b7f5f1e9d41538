"""The task: the loss between labels and the student's outputs."""

from typing import Any

import keras
from keras import ops

from keras_kd import _backend


def task_of(
    distiller: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, *, training: bool
) -> Any:
    """Return the task loss of a batch, 0 where there is none.

    It is the loss that the Distiller was compiled with; without one, what the student
    computes in a `compute_loss` of its own.

    Args:
        distiller: The Distiller.
        x: The inputs.
        y: The labels, or None.
        y_pred: The student's outputs.
        sample_weight: The weights, or None.
        training: Whether the step trains.

    Returns:
        Scalar tensor, float32.
    """
    compiled = _backend.compiled_loss(distiller)
    if compiled is not None:
        task = ops.zeros(()) if y is None else compiled(y, y_pred, sample_weight)
    elif y is not None and has_own_loss(distiller.student):
        task = distiller.student.compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training
        )
    else:
        task = ops.zeros(())
    return ops.cast(task, "float32")


def has_own_loss(student: keras.Model) -> bool:
    """Say whether the student's class overrides `compute_loss`."""
    return type(student).compute_loss is not keras.Model.compute_loss


def check_own_training(student: keras.Model, loss: Any) -> None:
    """Raise where what a student does in its own training would be passed over.

    Args:
        student: The student.
        loss: The task loss that the Distiller is compiled with, or None.

    Raises:
        ValueError: If the student trains by a `train_step` of its own and the
            Distiller has no task loss; or if it has a loss of its own that has not
            been compiled.
    """
    if loss is not None:
        return
    kind = type(student).__name__
    if has_own_loss(student) and not student.compiled:
        raise ValueError(
            f"`student` must be compiled, because the class {kind} computes its task "
            "loss itself, from what `student.compile` was given. Received: "
            f"student={student.name!r}, not compiled, and loss=None. Compile the "
            "student first, or give the Distiller's `compile` a `loss`."
        )
    if type(student).train_step is not keras.Model.train_step and not has_own_loss(
        student
    ):
        raise ValueError(
            f"`loss` must be given, because the class {kind} trains by a `train_step` "
            "of its own, which a Distiller does not run. Received: loss=None. Pass "
            "the task loss to the Distiller's `compile`, or move what the student "
            "computes into its `compute_loss`."
        )
