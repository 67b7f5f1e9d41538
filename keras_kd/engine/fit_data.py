"""What `fit` and `evaluate` are given, where Keras would train on something else."""

import inspect
from typing import Any

import keras

from keras_kd.data.batches import ShuffledBatches

_FIT = inspect.signature(keras.Model.fit)
_EVALUATE = inspect.signature(keras.Model.evaluate)
# Keras drops the weights of data without labels; in their place they travel.
_WEIGHTS = "keras_kd_sample_weight"


def fit_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments for Keras's `fit`, by their names.

    Args:
        *args: The Distiller, and what its `fit` was given.
        **kwargs: The rest of what it was given.

    Raises:
        ValueError: An epoch of a `ShuffledBatches` is cut short.
    """
    given = _by_name(_FIT, args, kwargs)
    if isinstance(given.get("x"), ShuffledBatches):
        _keep_order(given)
    if given.get("class_weight") is None:
        _place_weights(given)
    validation = given.get("validation_data")
    if isinstance(validation, (list, tuple)) and len(validation) == 3:
        parts = dict(zip(("x", "y", "sample_weight"), validation, strict=True))
        _place_weights(parts)
        given["validation_data"] = tuple(parts.values())
    return given


def evaluate_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments for Keras's `evaluate`, by their names."""
    given = _by_name(_EVALUATE, args, kwargs)
    _place_weights(given)
    return given


def labels_and_weights(y: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return the labels and the weights of a batch, each where it belongs."""
    if isinstance(y, dict) and _WEIGHTS in y:
        return None, y[_WEIGHTS]
    return y, sample_weight


def _by_name(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    given = dict(signature.bind(*args, **kwargs).arguments)
    del given["self"]
    given.update(given.pop("kwargs", {}))
    return given


def _keep_order(given: dict[str, Any]) -> None:
    # Keras would shuffle the batches' order once more, and by default.
    given["shuffle"] = False
    batches, steps = given["x"], given.get("steps_per_epoch")
    if steps is None:
        return
    if steps != len(batches):
        raise ValueError(
            f"`steps_per_epoch` must be None for {type(batches).__name__}: Keras would "
            "begin the next epoch in the middle of its new order. Received: "
            f"steps_per_epoch={steps}, for an epoch of {len(batches)} batches."
        )
    given["steps_per_epoch"] = None


def _place_weights(given: dict[str, Any]) -> None:
    x, weight = given.get("x"), given.get("sample_weight")
    if weight is None or given.get("y") is not None:
        return
    if all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(x)):
        given["y"], given["sample_weight"] = {_WEIGHTS: weight}, None
