"""What a teacher does between epochs."""

from typing import Any

import keras


class TeacherBetweenEpochs(keras.callbacks.Callback):
    """Tells the teacher of a Distiller when an epoch begins and ends.

    Args:
        engine: The Distiller's parts.
    """

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self._engine = engine

    @property
    def is_needed(self) -> bool:
        """Whether the teacher does anything then."""
        teacher = self._engine.teacher
        return teacher is not None and teacher.acts_between_epochs

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
        self._engine.teacher.on_epoch_begin(epoch, self.model.student)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Tell the teacher."""
        self._engine.teacher.on_epoch_end(epoch, self.model.student)
