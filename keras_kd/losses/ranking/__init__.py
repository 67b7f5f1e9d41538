"""Methods for the scores of rankers."""

from keras_kd.losses.ranking.margin_distillation import MarginDistillation

__all__ = ["MarginDistillation"]
