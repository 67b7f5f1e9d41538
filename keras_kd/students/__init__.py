"""What is trained."""

from keras_kd.students.base import Student
from keras_kd.students.branched_student import BranchedStudent
from keras_kd.students.data_free_student import DataFreeStudent
from keras_kd.students.peer_group import PeerGroup

__all__ = ["BranchedStudent", "DataFreeStudent", "PeerGroup", "Student"]
