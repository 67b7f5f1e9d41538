"""What truly differs between TensorFlow, JAX and PyTorch, and nothing else.

Every name here exists for the three backends with the same meaning; the contract
tests in `tests/_backend` run on each of them.
"""

from typing import TYPE_CHECKING

import keras

from keras_kd._backend.common import reading
from keras_kd._backend.keras_internals import (
    PlainError,
    as_tensors,
    attach_mask,
    axis_of,
    build_by,
    children,
    compiled_loss,
    direction_of,
    forget_compiled,
    freeze,
    has_attention_method,
    has_fixed_batch_size,
    index_of,
    is_auto_named,
    is_built,
    is_rewinding_data,
    map_also,
    mask_of,
    metric_names,
    noting_attention,
    parts_of,
    penalties,
    reads_labels,
    supports_jit,
    symbolic_calls,
)

BACKEND = keras.config.backend()

if TYPE_CHECKING or BACKEND == "jax":
    from keras_kd._backend.jax import (
        TRACING_FRAMES,
        DistillationTrainer,
        Modes,
        first_rows,
        move_towards,
        no_gradient,
        preserve_state,
        run_trial,
        shapes_of,
        sum_over_replicas,
    )
elif BACKEND == "tensorflow":
    from keras_kd._backend.tensorflow import (
        TRACING_FRAMES,
        DistillationTrainer,
        Modes,
        first_rows,
        move_towards,
        no_gradient,
        preserve_state,
        run_trial,
        shapes_of,
        sum_over_replicas,
    )
elif BACKEND == "torch":
    from keras_kd._backend.torch import (
        TRACING_FRAMES,
        DistillationTrainer,
        Modes,
        first_rows,
        move_towards,
        no_gradient,
        preserve_state,
        run_trial,
        shapes_of,
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
    "Modes",
    "PlainError",
    "as_tensors",
    "attach_mask",
    "axis_of",
    "build_by",
    "children",
    "compiled_loss",
    "direction_of",
    "first_rows",
    "forget_compiled",
    "freeze",
    "has_attention_method",
    "has_fixed_batch_size",
    "index_of",
    "is_auto_named",
    "is_built",
    "is_rewinding_data",
    "map_also",
    "mask_of",
    "metric_names",
    "move_towards",
    "no_gradient",
    "noting_attention",
    "parts_of",
    "penalties",
    "preserve_state",
    "reading",
    "reads_labels",
    "run_trial",
    "shapes_of",
    "sum_over_replicas",
    "supports_jit",
    "symbolic_calls",
]
