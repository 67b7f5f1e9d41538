"""The numbers of a batch's examples, by which a loss knows them again."""

from typing import Any

import numpy as np
from keras import ops

from keras_kd.losses.context import StepContext


def sample_ids(step: StepContext, key: Any) -> Any:
    """Return the number of each example of the batch.

    Args:
        step: The step, whose x holds them.
        key: The key of x, for where the Distiller was given no `sample_ids=`.

    Returns:
        Integer tensor of shape `(batch,)`, int32.

    Raises:
        ValueError: x has no such key, or a number of the first batch is no int32. In
            JAX all integers are int32 before this can tell.
    """
    if step.sample_ids is not None:
        return step.sample_ids
    try:
        ids = step.x[key]
    except (KeyError, TypeError, IndexError) as error:
        known = list(step.x) if isinstance(step.x, dict) else type(step.x).__name__
        raise ValueError(
            "`sample_ids` must be a key of the batch's x. Received: "
            f"sample_ids={key!r}, x: {known}. Pass "
            "`x={'image': images, 'sample_id': np.arange(len(images))}`."
        ) from error
    return ops.cast(ops.reshape(ids, (-1,)), "int32")


def not_int32(ids: np.ndarray) -> np.ndarray:
    """Return those of some numbers, float64, that no int32 holds."""
    return ids[(ids != np.floor(ids)) | (np.abs(ids) >= 2.0**31)]


def check_sample_ids(step: StepContext, key: Any) -> np.ndarray:
    """Return the numbers of the first batch's examples.

    Raises:
        ValueError: If one changes as int32, in which others may be the same.
    """
    sample_ids(step, key)
    ids = step.sample_ids if step.sample_ids is not None else step.x[key]
    array = np.asarray(ops.convert_to_numpy(ids)).astype("float64")
    wrong = not_int32(array)
    if wrong.size:
        raise ValueError(
            "`sample_ids` must be the key of integers below 2**31. Received: "
            f"x[{key!r}] with {wrong.flat[0]:.17g}. Number the examples from 0."
        )
    return array.reshape(-1).astype("int64")
