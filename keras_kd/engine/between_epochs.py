"""What a teacher does between epochs."""

from typing import Any

import keras

from keras_kd.engine.engine import Engine
from keras_kd.teachers.base import Teacher


class TeacherBetweenEpochs(keras.callbacks.Callback):
    """Tells the teacher of a Distiller when an epoch begins and ends.

    Args:
        engine: The Distiller's parts.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    @property
    def is_needed(self) -> bool:
        """Whether the teacher does anything then."""
        teacher = self._engine.teacher
        return teacher is not None and any(
            _overrides(teacher, what) for what in ("on_epoch_begin", "on_epoch_end")
        )

    def beside(self, callbacks: Any) -> Any:
        """Return the user's callbacks with this one, where the teacher needs it."""
        if not self.is_needed:
            return callbacks
        if isinstance(callbacks, keras.callbacks.CallbackList):
            known = callbacks.callbacks
            if not any(isinstance(each, TeacherBetweenEpochs) for each in known):
                self.set_model(self._engine.distiller)
                known.append(self)
            return callbacks
        # First, so that a checkpoint at the end of an epoch holds what is new.
        return [self, *keras.tree.flatten(callbacks or [])]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Tell the teacher; `self.model` gives variables their values on JAX."""
        self._tell("on_epoch_begin", epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Tell the teacher."""
        self._tell("on_epoch_end", epoch)

    def _tell(self, what: str, epoch: int) -> None:
        teacher = self._engine.teacher
        if teacher is not None and _overrides(teacher, what):
            getattr(teacher, what)(epoch, self.model.student)


def _overrides(teacher: Teacher, method: str) -> bool:
    return getattr(type(teacher), method) is not getattr(Teacher, method)
