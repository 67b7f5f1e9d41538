"""Batches in a reproducible order, and such as let examples learn from each other."""

from keras_kd.data.batches import (
    OverlappingBatches,
    SameClassBatches,
    ShuffledBatches,
    Views,
    without_sample_ids,
)
from keras_kd.data.curriculum import CurriculumBatches, LinearPacing, difficulty

__all__ = [
    "CurriculumBatches",
    "LinearPacing",
    "OverlappingBatches",
    "SameClassBatches",
    "ShuffledBatches",
    "Views",
    "difficulty",
    "without_sample_ids",
]
