"""All methods, by the short names that the papers gave them.

What is published about a method stands as `METHODS` beside its class; the families'
packages say which files there are.
"""

import html
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from keras_kd.losses.base import DistillationLoss

# What a method compares, in the order in which `methods` lists them.
SIGNALS = {
    "outputs": "the outputs of both sides",
    "classes": "the outputs, of some classes",
    "feature": "a layer of each side",
    "stages": "several layers of each side",
    "exits": "exits of the student, with the teacher's output",
    "attention": "the inside of transformers",
    "teachers": "each of several teachers (`teachers.Ensemble`)",
    "peers": "students that train together (`teachers.PeerGroup`)",
    "self": "the student with itself, without a teacher",
    "nothing": "the student with its labels, without a teacher",
    "generated": "outputs for generated inputs, without data",
}


@dataclass(frozen=True)
class Method:
    """What is published about a method, and how it is made here.

    The weights are those of the papers' image classifiers, CIFAR-100 where they report
    it, at the scale that the loss has here.

    Attributes:
        name: The name in `keras_kd.losses.get`.
        make: The class or function that makes the loss.
        paper: Authors, year and arXiv number.
        signals: What it compares: "outputs" of both sides, of some "classes" only;
            "feature" (one layer of each side, the arguments `teacher_layer_name` and
            `student_layer_name`), "stages" (a list of layers of each side), "exits" (a
            list of layers of the student), "attention" (layers of transformers); the
            outputs of several "teachers" or of "peers"; the student with "self", with
            "nothing" but labels, or with the teacher of "generated" inputs.
        weight: The published weight of the loss.
        student_loss_weight: The published weight of the task loss beside it.
        when: When to use it.
        defaults: Arguments that `get` gives to `make` where the caller does not.
        labels: Whether it reads the labels.
        warmup: The published share of the training over which the weight grows from
            0, or 0.

    Raises:
        ValueError: If `signals` is not one of these.
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

    def __post_init__(self) -> None:
        _check_signals(self.signals)


class Methods(dict[str, Method]):
    """Methods by name; shows as a table."""

    _COLUMNS = (
        "name",
        "loss",
        "compares",
        "weight",
        "task",
        "labels",
        "when to use it",
    )

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                method.name,
                getattr(method.make, "__name__", repr(method.make)),
                method.signals,
                f"{method.weight:g}",
                f"{method.student_loss_weight:g}",
                "yes" if method.labels else "",
                method.when,
            )
            for method in self.values()
        ]

    def __repr__(self) -> str:
        rows = [self._COLUMNS, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
        )

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        head = line((*self._COLUMNS, "paper"), "th")
        body = [
            line((*row, method.paper), "td")
            for row, method in zip(self._rows(), self.values(), strict=True)
        ]
        return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


_METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Add a method to those that `get` knows.

    An equal method may be registered again, as a notebook's cell that runs twice does;
    the class that it defines anew takes the place of the one before.

    Args:
        method: The method.

    Raises:
        ValueError: If another method has the name.

    Example:
    >>> class LogitGap(DistillationLoss):
    ...     def call(self, teacher, student, step):
    ...         return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)
    >>> register(Method("logit_gap", LogitGap, "ours", "outputs", 1.0, 0.5, "never"))
    >>> get("logit_gap").name
    'logit_gap'
    >>> _ = _METHODS.pop("logit_gap")
    """
    known = _METHODS.get(method.name)
    if known is not None and not _same(known, method):
        raise ValueError(
            "`method.name` must be new, or its method equal to the one of that name. "
            f"Received: {method.name!r}, which is {_path(known.make)} "
            f"({known.paper}); {_differences(known, method)}. Choose another name."
        )
    _METHODS[method.name] = method


def collect(package: ModuleType) -> None:
    """Register the `METHODS` of each file whose names a package exports.

    Args:
        package: The package of a family of methods.
    """
    for name in package.__all__:
        for method in sys.modules[getattr(package, name).__module__].METHODS:
            register(method)


def methods(*, signals: str | None = None, labels: bool | None = None) -> Methods:
    """Return the registered methods by name, as a dict that shows as a table.

    Args:
        signals: What they compare, as in `Method`. Defaults to None, for all.
        labels: True for those that read the labels, False for the others. Defaults to
            None, for all.

    Returns:
        The methods, sorted by what they compare and then by name.

    Raises:
        ValueError: If `signals` is not None or one of those that `Method` names.

    Example:
    >>> methods()["kd"].paper
    'Hinton, Vinyals and Dean, 2015, arXiv:1503.02531'
    >>> methods(signals="stages")
    name    loss                  compares  weight  task  labels  when to use it
    ofd     OverhaulDistillation  stages    0.001   1             Convnets, on ...
    review  ReviewDistillation    stages    1       1             Convnets, where ...
    """
    if signals is not None:
        _check_signals(signals)
    order = list(SIGNALS)
    return Methods(
        {
            name: method
            for name, method in sorted(
                _METHODS.items(), key=lambda item: (order.index(item[1].signals), item)
            )
            if signals in (None, method.signals) and labels in (None, method.labels)
        }
    )


def get(name: str, **arguments: Any) -> DistillationLoss:
    """Return a loss by the short name of its method, with the published settings.

    Args:
        name: One of `methods()`: "kd", "dkd", "dist", "at", "rkd", ...
        **arguments: Arguments of the loss, where they shall differ.

    Returns:
        The loss. Its published weight is `methods()[name].weight`.

    Raises:
        ValueError: If `name` is not that of a method, or arguments of its loss are
            missing or unknown.

    Example:
    >>> get("kd", temperature=2.0).temperature
    2.0
    """
    if name not in _METHODS:
        raise ValueError(
            f"`name` must be one of {', '.join(sorted(_METHODS))}. "
            f"Received: name={name!r}.{_suggestion(name, _METHODS)}"
        )
    method = _METHODS[name]
    given = {**method.defaults, **arguments}
    signature = inspect.signature(method.make)
    try:
        signature.bind(**given)
    except TypeError as error:
        needed = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind is not parameter.VAR_KEYWORD
        ]
        raise ValueError(
            f"`arguments` of {name!r} must be those of {method.make.__name__}"
            f"{signature}. Received: {sorted(arguments)}, but {error}. "
            + (f"Needed are {', '.join(needed)}." if needed else "")
        ) from error
    return method.make(**given)


def _suggestion(given: Any, known: Mapping[str, Any]) -> str:
    close = get_close_matches(str(given), known, n=3)
    return f" Did you mean {', '.join(close)}?" if close else ""


def _check_signals(signals: Any) -> None:
    if signals not in SIGNALS:
        raise ValueError(
            f"`signals` must be one of {', '.join(SIGNALS)}. "
            f"Received: signals={signals!r}.{_suggestion(signals, SIGNALS)}"
        )


def _path(make: Any) -> str:
    name = getattr(make, "__qualname__", repr(make))
    return f"{getattr(make, '__module__', None)}.{name}"


def _same(one: Method, other: Method) -> bool:
    # A class that a notebook's cell defines again is another object of the same path.
    return _path(one.make) == _path(other.make) and one == replace(other, make=one.make)


def _differences(one: Method, other: Method) -> str:
    if _path(one.make) != _path(other.make):
        return f"this one is {_path(other.make)}"
    found = [
        f"{each.name}={getattr(other, each.name)!r} in place of "
        f"{getattr(one, each.name)!r}"
        for each in fields(one)
        if each.name != "make" and getattr(one, each.name) != getattr(other, each.name)
    ]
    return f"this one has {' and '.join(found)}"
