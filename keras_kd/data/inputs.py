"""What each side gets of a batch, and what else its inputs say."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

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
        ids = _selected("sample_ids", self.given_sample_ids, x)
        return None if ids is None else ops.cast(ops.reshape(ids, (-1,)), "int32")

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
            return inputs.get(PADDING) if is_dict else None
        return _selected("padding_mask", self.given_padding_mask, inputs)


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
