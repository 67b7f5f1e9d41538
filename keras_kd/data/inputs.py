"""What each side gets of a batch, and what else its inputs say."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_kd.losses.sample_ids import not_int32

Function = Callable[[Any], Any]
PADDING = "padding_mask"


class Inputs:
    """Functions of the batch's x.

    Args:
        teacher: From x to the teacher's inputs, or None for x itself.
        student: The same for the student.
        sample_ids: From x to the numbers of the examples, or the key of x that holds
            them, or None.
        padding_mask: From the inputs of a side to its mask, True where a position
            counts, or the key of the inputs that holds it. None for "padding_mask",
            as in KerasHub, where there is such a key.

    Raises:
        ValueError: If one is no function, nor a key where that is allowed.
    """

    def __init__(
        self,
        teacher: Function | None,
        student: Function | None,
        sample_ids: Function | str | None,
        padding_mask: Function | str | None,
    ) -> None:
        for side, function in (("teacher", teacher), ("student", student)):
            if function is not None and not callable(function):
                raise ValueError(
                    f"`{side}_inputs` must be None or a function of the batch's x. "
                    f"Received: {side}_inputs={function!r}"
                )
        for name, given in (("sample_ids", sample_ids), ("padding_mask", padding_mask)):
            if not (given is None or callable(given) or isinstance(given, str)):
                raise ValueError(
                    f"`{name}` must be None, a key of the inputs, or a function of "
                    f"them. Received: {name}={given!r}"
                )
        self.functions = {"teacher": teacher, "student": student}
        self.given_sample_ids, self.given_padding_mask = sample_ids, padding_mask

    def of(self, side: str, x: Any) -> Any:
        """Return the inputs of "teacher" or "student" for the batch's x."""
        function = self.functions[side]
        return x if function is None else function(x)

    def sample_ids(self, x: Any) -> Any:
        """Return the numbers of the batch's examples, int32 of shape `(batch,)`.

        Raises:
            ValueError: If x has no such key.
        """
        ids = self.given_ids(x)
        return None if ids is None else ops.cast(ops.reshape(ids, (-1,)), "int32")

    def given_ids(self, x: Any) -> Any:
        """Return them as the batch has them."""
        return _selected("sample_ids", self.given_sample_ids, x)

    def sample_ids_on_host(self, x: Any) -> np.ndarray | None:
        """Return them as a NumPy array of int64."""
        ids = _selected("sample_ids", self.given_sample_ids, x)
        if ids is None:
            return None
        return np.asarray(ops.convert_to_numpy(ids)).reshape(-1).astype("int64")

    def padding(self, inputs: Any) -> Any:
        """Return the padding mask in the inputs of a side, or None."""
        if self.given_padding_mask is None:
            is_dict = isinstance(inputs, dict)
            mask = inputs.get(PADDING) if is_dict else None
        else:
            mask = _selected("padding_mask", self.given_padding_mask, inputs)
        return None if mask is None else _of_positions(mask)


def _of_positions(mask: Any) -> Any:
    """Return a padding mask of shape `(batch, length)`.

    Raises:
        ValueError: If it has more than one axis of positions.
    """
    shape = tuple(mask.shape)
    ones = tuple(axis for axis in range(1, len(shape)) if shape[axis] == 1)
    kept = len(shape) - len(ones)
    if len(shape) == 2:
        return mask
    if kept != 2:
        raise ValueError(
            "`padding_mask` must have the shape `(batch, length)`, True where a "
            f"position counts. Received: a mask of shape {shape}. Pass "
            "`padding_mask=`, a function from the inputs to such a mask."
        )
    return ops.squeeze(mask, axis=ones)


def check_ids(ids: Any, count: int) -> None:
    """Raise where numbers of examples are no int32, or not one for each.

    Args:
        ids: What `sample_ids` gave for the first batch.
        count: The number of its examples.

    Raises:
        ValueError: If they are not.
    """
    array = np.asarray(ops.convert_to_numpy(ids)).astype("float64")
    wrong = not_int32(array)
    if array.size != count or wrong.size:
        cause = f"{wrong.flat[0]:.17g}" if wrong.size else f"shape {array.shape}"
        raise ValueError(
            "`sample_ids` must give one integer below 2**31 for each example. "
            f"Received: {cause}, for {count} examples. Number the examples from 0."
        )


def _selected(name: str, given: Function | str | None, x: Any) -> Any:
    if given is None:
        return None
    if callable(given):
        return given(x)
    if isinstance(x, dict) and given in x:
        return x[given]
    known = list(x) if isinstance(x, dict) else type(x).__name__
    raise ValueError(
        f"`{name}` must be a key of the inputs. Received: {name}={given!r}, inputs: "
        f"{known}. Give them as a dict, or pass a function of them."
    )
