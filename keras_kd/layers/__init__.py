"""Layers between the student's signals and the teacher's."""

from keras_kd.layers.projector import projector

__all__ = ["projector"]
