"""Methods: what a student learns from."""

from keras_kd.losses import (
    attention,
    data_free,
    features,
    logits,
    peers,
    ranking,
    registry,
    relations,
    self_distillation,
)
from keras_kd.losses.attention import *  # noqa: F403
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.context import StepContext
from keras_kd.losses.data_free import *  # noqa: F403
from keras_kd.losses.divergence import Divergence
from keras_kd.losses.features import *  # noqa: F403
from keras_kd.losses.logits import *  # noqa: F403
from keras_kd.losses.peers import *  # noqa: F403
from keras_kd.losses.ranking import *  # noqa: F403
from keras_kd.losses.registry import Method, get, methods, register
from keras_kd.losses.relations import *  # noqa: F403
from keras_kd.losses.self_distillation import *  # noqa: F403

for _family in (
    attention,
    data_free,
    features,
    logits,
    peers,
    ranking,
    relations,
    self_distillation,
):
    registry.collect(_family)

__all__ = [
    "DistillationLoss",
    "Divergence",
    "Method",
    "StepContext",
    "get",
    "methods",
    "register",
]
__all__ += attention.__all__
__all__ += data_free.__all__
__all__ += features.__all__
__all__ += logits.__all__
__all__ += peers.__all__
__all__ += ranking.__all__
__all__ += relations.__all__
__all__ += self_distillation.__all__
