"""What a loss gives, without the word on which of its values are valid."""

from typing import Any

from keras_kd.losses.values import values_and_valid


def called(loss: Any, *arguments: Any) -> Any:
    """Return the values that `loss.call` gives; 0 stands where one is not valid."""
    given = loss.call(*arguments)
    is_pair = isinstance(given, tuple) and values_and_valid(given)[1] != [None]
    return given[0] if is_pair and len(given) == 2 else given
