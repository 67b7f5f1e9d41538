"""The teacher becomes the student of this moment."""

from typing import Any

import keras

from keras_kd.teachers.earlier_self import EarlierSelf


class RefreshTeacher(keras.callbacks.Callback):
    """Copies the student's weights into the teacher at the end of epochs.

    For the teacher `keras_kd.teachers.EarlierSelf`. A run that goes on from a
    checkpoint of the end of an epoch has the teacher that it would have had without a
    break, whichever callback came first.

    Args:
        every: After how many epochs. At least 1. Defaults to 1.

    Raises:
        ValueError: `every` is no positive integer, or, when training begins, the
            teacher is another.

    Example:
    >>> RefreshTeacher(every=5).every
    5
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        if not isinstance(every, int) or every < 1:
            raise ValueError(
                f"`every` must be a positive number of epochs. Received: every={every}"
            )
        self.every = every

    def on_train_begin(self, logs: Any = None) -> None:
        teacher = getattr(self.model, "teacher", None)
        if not isinstance(teacher, EarlierSelf):
            raise ValueError(
                "RefreshTeacher needs a Distiller whose teacher is a "
                f"`keras_kd.teachers.EarlierSelf`. Received: teacher={teacher!r}"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Once more: a checkpoint may have been written before the epoch's refresh.
        if epoch > 0:
            self._refresh(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._refresh(epoch + 1)

    def _refresh(self, epochs: int) -> None:
        if epochs % self.every == 0:
            distiller = self.model
            distiller.teacher.refresh(distiller.student)
