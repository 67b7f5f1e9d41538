"""All methods, by the short names that the papers gave them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from keras_kd.losses.base import DistillationLoss


@dataclass(frozen=True)
class Method:
    """What is published about a method, and how it is made here.

    Attributes:
        name: The name in `keras_kd.losses.get`.
        make: The class or function that makes the loss.
        paper: Authors, year and arXiv number.
        signals: What it compares: "outputs", "feature" (one layer of each side, the
            arguments `teacher_layer_name` and `student_layer_name`), "stages" (a list
            of layers of each side), "exits" (a list of layers of the student),
            "attention" or "nothing" (no teacher).
        weight: The published weight of the loss.
        student_loss_weight: The published weight of the task loss beside it.
        when: When to use it.
        defaults: Arguments that `get` gives to `make` where the caller does not.
        labels: Whether it reads the labels.
        warmup: The published share of the training over which the weight grows from
            0, or 0.
    """

    name: str
    make: Callable[..., DistillationLoss]
    paper: str
    signals: str
    weight: float
    student_loss_weight: float
    when: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    labels: bool = False
    warmup: float = 0.0


_METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Add a method to those that `get` knows.

    Args:
        method: The method. Its name must be new.

    Raises:
        ValueError: Another method has the name.

    Example:
    >>> class LogitGap(DistillationLoss):
    ...     def call(self, teacher, student, step):
    ...         return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
    >>> register(Method("logit_gap", LogitGap, "ours", "outputs", 1.0, 0.5, "never"))
    >>> get("logit_gap").name
    'logit_gap'
    >>> _ = _METHODS.pop("logit_gap")
    """
    if method.name in _METHODS:
        raise ValueError(
            "`method.name` must be new. Received: "
            f"{method.name!r}, which is {_METHODS[method.name].paper}."
        )
    _METHODS[method.name] = method


def methods() -> dict[str, Method]:
    """Return all registered methods by name.

    Example:
    >>> methods()["kd"].paper
    'Hinton, Vinyals and Dean, 2015, arXiv:1503.02531'
    """
    return dict(_METHODS)


def get(name: str, **arguments: Any) -> DistillationLoss:
    """Return a loss by the short name of its method, with the published settings.

    Args:
        name: One of `methods()`: "kd", "dkd", "dist", "at", "rkd", ...
        **arguments: Arguments of the loss, where they shall differ.

    Returns:
        The loss. Its published weight is `methods()[name].weight`.

    Raises:
        ValueError: There is no such method.

    Example:
    >>> get("kd", temperature=2.0).temperature
    2.0
    """
    if name not in _METHODS:
        close = get_close_matches(str(name), _METHODS, n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise ValueError(
            f"`name` must be one of {', '.join(sorted(_METHODS))}. "
            f"Received: name={name!r}.{hint}"
        )
    method = _METHODS[name]
    return method.make(**{**method.defaults, **arguments})
