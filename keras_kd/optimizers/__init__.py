"""Optimizers for what trains in several parts, or by two gradients."""

from keras_kd.optimizers.base import DistillationOptimizer
from keras_kd.optimizers.distillation_oriented import DistillationOriented
from keras_kd.optimizers.per_part import PerPart

__all__ = ["DistillationOptimizer", "DistillationOriented", "PerPart"]
