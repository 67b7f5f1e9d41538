"""The numbers of a batch's examples, by which a loss knows them again."""

from typing import Any

from keras import ops

from keras_kd.losses.context import StepContext


def sample_ids(step: StepContext, key: Any) -> Any:
    """Return the number of each example of the batch.

    Args:
        step: The step, whose x holds them.
        key: The key of x.

    Returns:
        Integer tensor of shape `(batch,)`.

    Raises:
        ValueError: x has no such key.
    """
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
