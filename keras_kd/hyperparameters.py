"""Numbers that may follow a schedule and that may change between compiled steps."""

import math
import numbers
import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import keras

Schedule = keras.optimizers.schedules.LearningRateSchedule
Scalar: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def check_scalar(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Return `value` where it is a schedule or a finite number within the bounds.

    Raises:
        ValueError: `value` is neither, or lies outside of the bounds.
    """
    if isinstance(value, Schedule):
        return value
    bounds = []
    if above is not None:
        bounds.append(f"greater than {above:g}")
    if minimum is not None:
        bounds.append(f"at least {minimum:g}")
    if maximum is not None:
        bounds.append(f"at most {maximum:g}")
    wanted = " and ".join(bounds) or "finite"
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if (
        not is_number
        or not math.isfinite(value)
        or (above is not None and value <= above)
        or (minimum is not None and value < minimum)
        or (maximum is not None and value > maximum)
    ):
        raise ValueError(
            f"`{name}` must be a number that is {wanted}, or a "
            "`keras.optimizers.schedules.LearningRateSchedule` of the training step. "
            f"Received: {name}={value!r} (of type {type(value).__name__})"
        )
    # NumPy's scalars would not survive the JSON of a saved model.
    return value if isinstance(value, (int, float)) else float(value)


class Hyperparameter:
    """An attribute that holds a number or a schedule and reports assignments.

    Whoever trains with the owner calls `watch(owner, callback)`; the callback then
    gets `(owner, name)` after each assignment, and carries the new value into the
    compiled step.
    """

    def __init__(
        self,
        *,
        minimum: float | None = None,
        above: float | None = None,
        maximum: float | None = None,
        optional: bool = False,
    ) -> None:
        self._bounds = {"minimum": minimum, "above": above, "maximum": maximum}
        self._optional = optional

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        # Not inherited from a base by reference: a subclass may add its own.
        owner._hyperparameters = (*getattr(owner, "_hyperparameters", ()), name)  # type: ignore[attr-defined]

    def __get__(self, owner: Any, owner_type: type | None = None) -> Any:
        if owner is None:
            return self
        try:
            return owner.__dict__[f"__{self._name}"]
        except KeyError:
            raise AttributeError(
                f"`{type(owner).__name__}.{self._name}` has not been set"
            ) from None

    def __set__(self, owner: Any, value: Any) -> None:
        if value is not None or not self._optional:
            value = check_scalar(self._name, value, **self._bounds)
        owner.__dict__[f"__{self._name}"] = value
        notify(owner, self._name)


Callback = Callable[[Any, str], None]
_watchers: "weakref.WeakKeyDictionary[Any, list[weakref.WeakMethod[Callback]]]"
_watchers = weakref.WeakKeyDictionary()


def watch(owner: Any, callback: Callback) -> None:
    """Call the bound method `callback` after each assignment, while it lives."""
    _watchers.setdefault(owner, []).append(weakref.WeakMethod(callback))


def notify(owner: Any, name: str) -> None:
    """Tell those who watch `owner` that its hyperparameter `name` has changed."""
    for reference in _watchers.get(owner, ()):
        callback = reference()
        if callback is not None:
            callback(owner, name)


def names_of(owner: Any) -> tuple[str, ...]:
    """List the names of the hyperparameters that `owner` has."""
    return getattr(owner, "_hyperparameters", ())


class WeightList(list[Any]):
    """A list of weights that validates and reports the assignment of an item."""

    def __init__(self, weights: Iterable[Any], changed: Callable[[int], None]) -> None:
        super().__init__(weights)
        self._changed = changed

    def __setitem__(self, place: Any, value: Any) -> None:
        if isinstance(place, slice):
            raise TypeError(
                "`distillation_loss_weights` must be assigned one by one or as a "
                f"whole. Received: a slice, {place}"
            )
        super().__setitem__(
            place, check_scalar("distillation_loss_weights", value, minimum=0)
        )
        self._changed(range(len(self))[place])


def to_config(value: Scalar) -> Any:
    """Return the JSON form of a number or a schedule."""
    if isinstance(value, Schedule):
        return keras.optimizers.schedules.serialize(value)
    return value


def from_config(value: Any) -> Any:
    """Return what `to_config` was given; other values pass unchanged."""
    if isinstance(value, dict):
        return keras.optimizers.schedules.deserialize(value)
    return value
