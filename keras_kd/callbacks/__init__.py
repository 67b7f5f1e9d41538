"""What happens between steps and epochs."""

from keras_kd.callbacks.epoch_schedule import EpochSchedule
from keras_kd.callbacks.loss_warmup import LossWarmup
from keras_kd.callbacks.student_checkpoint import StudentCheckpoint

__all__ = ["EpochSchedule", "LossWarmup", "StudentCheckpoint"]
