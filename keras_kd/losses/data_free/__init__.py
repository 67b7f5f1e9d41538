"""Methods that train without data."""

from keras_kd.losses.data_free.data_free_distillation import DataFreeDistillation

__all__ = ["DataFreeDistillation"]
