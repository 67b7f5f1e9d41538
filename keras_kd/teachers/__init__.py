"""Where the targets come from."""

from keras_kd.teachers.base import Teacher
from keras_kd.teachers.earlier_self import EarlierSelf
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.function import FunctionTeacher
from keras_kd.teachers.model import ModelTeacher
from keras_kd.teachers.moving_average import MovingAverage
from keras_kd.teachers.specialists import Specialists

__all__ = [
    "EarlierSelf",
    "Ensemble",
    "FunctionTeacher",
    "ModelTeacher",
    "MovingAverage",
    "Specialists",
    "Teacher",
]
