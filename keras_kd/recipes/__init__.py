"""Ways to train that take more than one loss beside one student."""

from keras_kd.recipes.reused_classifier import reuse_classifier

__all__ = ["reuse_classifier"]
