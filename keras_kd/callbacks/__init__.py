"""What happens between steps and epochs."""

from keras_kd.callbacks.student_checkpoint import StudentCheckpoint

__all__ = ["StudentCheckpoint"]
