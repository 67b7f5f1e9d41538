"""Where the targets come from."""

from keras_kd.teachers.data_free import DataFreeStudent
from keras_kd.teachers.earlier_self import EarlierSelf
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.frozen import FrozenTeacher
from keras_kd.teachers.moving_average import MovingAverage
from keras_kd.teachers.peers import BranchedStudent, PeerGroup
from keras_kd.teachers.specialists import Specialists

__all__ = [
    "BranchedStudent",
    "DataFreeStudent",
    "EarlierSelf",
    "Ensemble",
    "FrozenTeacher",
    "MovingAverage",
    "PeerGroup",
    "Specialists",
]
