"""Where the targets come from."""

from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.frozen import FrozenTeacher

__all__ = ["Ensemble", "FrozenTeacher"]
