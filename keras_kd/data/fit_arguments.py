"""What `fit` and `evaluate` are given, where Keras would train on something else."""

from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_kd.data.batches import in_own_order

# Keras drops the weights of data without labels; in their place they travel.
_WEIGHTS = "keras_kd_sample_weight"


def fit_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for Keras's `fit`, by their names.

    Args:
        given: What the Distiller's `fit` was given.

    Raises:
        ValueError: If an epoch of ordered batches is cut short.
    """
    given = in_own_order(given)
    if given["class_weight"] is None:
        given = with_weights_placed(given)
    validation = given["validation_data"]
    if isinstance(validation, (list, tuple)) and len(validation) == 3:
        names = ("x", "y", "sample_weight")
        parts = with_weights_placed(dict(zip(names, validation, strict=True)))
        given = {**given, "validation_data": tuple(parts[name] for name in names)}
    return given


def labels_and_weights(y: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return the labels and the weights of a batch, each where it belongs."""
    if isinstance(y, dict) and _WEIGHTS in y:
        return None, y[_WEIGHTS]
    return y, sample_weight


def with_weights_placed(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with the weights of unlabelled arrays where labels go."""
    weight = given["sample_weight"]
    leaves = keras.tree.flatten(given["x"])
    arrays = all(hasattr(leaf, "shape") for leaf in leaves)
    if weight is None or given["y"] is not None or not arrays:
        return given
    return {**given, "y": {_WEIGHTS: weight}, "sample_weight": None}


def with_first_batch(
    batches: Iterator[Any], check: Callable[[Any], None]
) -> Iterator[Any]:
    """Return the batches of a generator, whose first one has been checked.

    It cannot be read twice: its first batch is put back.

    Args:
        batches: The generator.
        check: Called with the first batch.

    Raises:
        ValueError: If there is none.
    """
    first = next(batches, None)
    if first is None:
        raise ValueError(
            "`x` must yield at least one batch. Received: an exhausted generator."
        )
    check(first)

    def again() -> Iterator[Any]:
        yield first
        yield from batches

    return again()
