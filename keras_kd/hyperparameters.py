"""Numbers that may follow a schedule and that may change between compiled steps."""

import math
import numbers
import weakref
from collections.abc import Callable, Iterable, Sequence
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
        first = float(keras.ops.convert_to_numpy(value(0)))
        check_scalar(f"{name}(0)", first, minimum=minimum, above=above, maximum=maximum)
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


def check_weights(given: Any, count: int) -> list[Any]:
    """Return one weight for each of `count` losses.

    Args:
        given: None for 1 each; a number or schedule for a single loss; or a sequence.
        count: The number of losses.

    Raises:
        ValueError: If their number is another, or one is no weight.
    """
    argument = "distillation_loss_weights"
    if given is None:
        return [1.0] * count
    if isinstance(given, (int, float, Schedule)):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(
            f"`{argument}` must be None or a list with one weight per loss. "
            f"Received: {argument}={given!r}"
        )
    if len(given) != count:
        raise ValueError(
            f"`{argument}` must hold one weight per loss, {count}. "
            f"Received: {len(given)} weights, {argument}={list(given)!r}"
        )
    return [check_scalar(argument, weight, minimum=0) for weight in given]


class Hyperparameter:
    """An attribute that holds a number or a schedule, and owns its variable.

    A number read while a step is traced would be frozen into it; a variable is not. A
    value assigned between steps therefore takes effect in the compiled step too. A
    schedule is a function of the step, and needs no variable.

    Args:
        minimum: The least value allowed, or None.
        above: What the value must be greater than, or None.
        maximum: The greatest value allowed, or None.
        optional: Whether None is allowed, for a value that is derived from others.

    Example:
    >>> class LogitGap(DistillationLoss):
    ...     power = keras_kd.Hyperparameter(above=0)
    >>> gap = LogitGap()
    >>> gap.power = 2.0
    >>> gap.power
    2.0
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
        self._variables: weakref.WeakKeyDictionary[Any, keras.Variable]
        self._variables = weakref.WeakKeyDictionary()

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
        old = owner.__dict__.get(f"__{self._name}")
        owner.__dict__[f"__{self._name}"] = value
        variable = self._variables.get(owner)
        if variable is None:
            return
        if kind_of(value) == "number":
            variable.assign(float(value))
        # A schedule is traced into the step: another one is seen by a new trace only.
        if kind_of(value) != kind_of(old) or kind_of(value) == "schedule":
            _tell_watchers(owner)

    def variable(self, owner: Any) -> keras.Variable:
        """Return the variable that carries the owner's value into compiled steps."""
        if owner not in self._variables:
            value = self.__get__(owner)
            self._variables[owner] = keras.Variable(
                float(value) if kind_of(value) == "number" else 0.0,
                dtype="float32",
                trainable=False,
                autocast=False,
                name=self._name,
            )
        return self._variables[owner]


def kind_of(value: Any) -> str:
    """Return "number", "schedule", or "derived" for None."""
    if value is None:
        return "derived"
    return "schedule" if isinstance(value, Schedule) else "number"


_watchers: "weakref.WeakKeyDictionary[Any, list[weakref.WeakMethod[Any]]]"
_watchers = weakref.WeakKeyDictionary()


def watch(owner: Any, callback: Callable[[], None]) -> None:
    """Call a bound method, while it lives, where only a new trace follows a value.

    That is where a number takes the place of a schedule, or the other way round.
    """
    known = _watchers.setdefault(owner, [])
    if not any(reference() == callback for reference in known):
        known.append(weakref.WeakMethod(callback))


def _tell_watchers(owner: Any) -> None:
    for reference in _watchers.get(owner, ()):
        callback = reference()
        if callback is not None:
            callback()


def names_of(owner: Any) -> tuple[str, ...]:
    """List the names of the hyperparameters that `owner` has."""
    return getattr(owner, "_hyperparameters", ())


def parts_in(*roots: Any) -> list[Any]:
    """List the parts among `roots` and all that their attributes hold, at any depth.

    A part is an object whose class has hyperparameters or might have them, as every
    loss and teacher. Lists, tuples and dicts are looked into.
    """
    found: dict[int, Any] = {}

    def visit(value: Any) -> None:
        if isinstance(value, (list, tuple, set)):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))
        elif _is_part(value) and id(value) not in found:
            found[id(value)] = value
            visit(list(vars(value).values()))

    visit(list(roots))
    return list(found.values())


def _is_part(value: Any) -> bool:
    return hasattr(type(value), "_hyperparameters") and not isinstance(value, type)


class Values:
    """The present values of all hyperparameters of some parts, at one step.

    Args:
        parts: The parts.
        restructured: A bound method, called where only a new trace follows a value.
    """

    def __init__(self, parts: Iterable[Any], restructured: Callable[[], None]) -> None:
        self._owned = [(part, name) for part in parts for name in names_of(part)]
        for part, _ in self._owned:
            watch(part, restructured)

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of the hyperparameters, in a fixed order."""
        return [getattr(type(o), name).variable(o) for o, name in self._owned]

    def at(self, step: Any) -> dict[tuple[int, str], Any]:
        """Return the values at the optimizer's step, as scalar float32 tensors.

        By the id of the owner and the name; one that is derived is left out.
        """
        values = {}
        for owner, name in self._owned:
            value = getattr(owner, name)
            if kind_of(value) == "number":
                variable = getattr(type(owner), name).variable(owner)
                values[id(owner), name] = keras.ops.convert_to_tensor(variable.value)
            elif value is not None:
                values[id(owner), name] = keras.ops.cast(value(step), "float32")
        return values


class LossWeight:
    """The weight of one distillation loss.

    Args:
        value: A number of at least 0, or a schedule.
    """

    value = Hyperparameter(minimum=0)

    def __init__(self, value: Scalar) -> None:
        self.value = value


class LossWeights(Sequence[Any]):
    """The weights of the losses: of fixed length, each item can be assigned.

    Args:
        weights: One number or schedule for each loss.
    """

    def __init__(self, weights: Iterable[Scalar]) -> None:
        self.parts = [LossWeight(weight) for weight in weights]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [part.value for part in self.parts[index]]
        return self.parts[index].value

    def __setitem__(self, index: int, weight: Scalar) -> None:
        if isinstance(index, slice):
            raise TypeError(
                "`distillation_loss_weights` must be assigned one by one or as a "
                f"whole. Received: a slice, {index}"
            )
        # Under the argument's name, by which the user knows it.
        self.parts[index].value = check_scalar(
            "distillation_loss_weights", weight, minimum=0
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Sequence, list)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


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
