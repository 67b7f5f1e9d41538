"""Knowledge distillation for Keras 3, on TensorFlow, JAX and PyTorch."""

from keras_kd import (
    callbacks,
    data,
    layers,
    losses,
    ops,
    optimizers,
    recipes,
    schedules,
    signals,
    students,
    teachers,
)
from keras_kd._version import __version__
from keras_kd.distiller import Distiller
from keras_kd.engine.saving import load_distiller
from keras_kd.hyperparameters import Hyperparameter
from keras_kd.losses import (
    AttentionDistillation,
    AttentionTransfer,
    DistillationLoss,
    Divergence,
    FeatureDistillation,
    HardLabelDistillation,
    LogitsDistillation,
    StepContext,
)
from keras_kd.signals import Output, Tap

__all__ = [
    "AttentionDistillation",
    "AttentionTransfer",
    "DistillationLoss",
    "Distiller",
    "Divergence",
    "FeatureDistillation",
    "HardLabelDistillation",
    "Hyperparameter",
    "LogitsDistillation",
    "Output",
    "StepContext",
    "Tap",
    "__version__",
    "callbacks",
    "data",
    "layers",
    "load_distiller",
    "losses",
    "ops",
    "optimizers",
    "recipes",
    "schedules",
    "signals",
    "students",
    "teachers",
]
