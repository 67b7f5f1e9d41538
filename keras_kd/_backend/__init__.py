"""What truly differs between TensorFlow, JAX and PyTorch, and nothing else.

Every name here exists for the three backends with the same meaning; the contract
tests in `tests/_backend` run on each of them.
"""

from typing import TYPE_CHECKING

import keras

from keras_kd._backend.keras_internals import (
    PlainError,
    attach_mask,
    axis_of,
    children,
    compiled_loss,
    freeze,
    is_built,
    is_rewinding_data,
    mask_of,
    parts_of,
    penalties,
    place_of,
    reads_labels,
    supports_jit,
)

BACKEND = keras.config.backend()

if TYPE_CHECKING or BACKEND == "jax":
    from keras_kd._backend.jax import (
        TRACING_FRAMES,
        DistillationTrainer,
        move_towards,
        no_gradient,
        preserve_state,
        sum_over_replicas,
    )
elif BACKEND == "tensorflow":
    from keras_kd._backend.tensorflow import (
        TRACING_FRAMES,
        DistillationTrainer,
        move_towards,
        no_gradient,
        preserve_state,
        sum_over_replicas,
    )
elif BACKEND == "torch":
    from keras_kd._backend.torch import (
        TRACING_FRAMES,
        DistillationTrainer,
        move_towards,
        no_gradient,
        preserve_state,
        sum_over_replicas,
    )
else:
    raise ImportError(
        "keras_kd trains on the TensorFlow, JAX and PyTorch backends. "
        f"Received: keras.config.backend()={BACKEND!r}. Set the environment variable "
        "KERAS_BACKEND to 'tensorflow', 'jax' or 'torch' before importing keras."
    )

__all__ = [
    "BACKEND",
    "TRACING_FRAMES",
    "DistillationTrainer",
    "PlainError",
    "attach_mask",
    "axis_of",
    "children",
    "compiled_loss",
    "freeze",
    "is_built",
    "is_rewinding_data",
    "mask_of",
    "move_towards",
    "no_gradient",
    "parts_of",
    "penalties",
    "place_of",
    "preserve_state",
    "reads_labels",
    "sum_over_replicas",
    "supports_jit",
]
