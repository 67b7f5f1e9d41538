"""What an optimizer is inside of those that Keras wraps around it."""

from typing import Any


def inner_optimizer(optimizer: Any) -> Any:
    """Return the optimizer inside of a `LossScaleOptimizer`, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
