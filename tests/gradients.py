"""Value and gradient of a scalar function, on the backend that Keras runs on."""

from typing import Any

import keras
import numpy as np


def value_and_gradient(function: Any, array: Any) -> tuple[float, np.ndarray]:
    """Return `function(x)` at the array and its gradient there, as float64.

    Where the value does not depend on x the gradient is 0, as JAX has it.
    """
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(jax.numpy.asarray(array))
    elif backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(array)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x, unconnected_gradients="zero")
    else:
        import torch

        x = keras.ops.convert_to_tensor(array).detach().clone().requires_grad_()
        value = function(x)
        gradient = torch.zeros_like(x)
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, x, materialize_grads=True)
    # NumPy has no bfloat16 of its own.
    gradient = keras.ops.convert_to_numpy(keras.ops.cast(gradient, "float32"))
    return float(keras.ops.convert_to_numpy(value)), gradient.astype("float64")
