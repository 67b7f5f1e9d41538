"""What can be wrong with a step, and which outcomes are right then."""

from collections.abc import Callable
from typing import Any

import numpy as np

from integration_tests.hostile.probe import CLASSES, ROWS, Setup

# A defect changes a setup in place. It returns the outcomes that are right: "error"
# (a clear one), "finite", or a sound setup that must give the same.
Defect = Callable[[Setup], tuple[Any, ...]]
DEFECTS: dict[str, Defect] = {}
BAD_ROW = 2
SIDES = ("teacher", "student")


def defect(function: Defect) -> Defect:
    """Add a defect to the table."""
    DEFECTS[function.__name__] = function
    return function


def on_each_side(name: str, make: Callable[[Setup, str], tuple[Any, ...]]) -> None:
    """Add a defect of the teacher's signals, and one of the student's."""
    for side in SIDES:
        DEFECTS[f"{name}_{side}"] = lambda setup, side=side: make(setup, side)


def shifted(setup: Setup, side: str, value: float) -> None:
    """Add `value` to all signals of one row of a side."""
    shift = setup.x[f"{side}_shift"].copy()
    shift[BAD_ROW] = value
    setup.x[f"{side}_shift"] = shift


def weighed_out() -> np.ndarray:
    """Return weights that leave the bad row out."""
    weight = np.linspace(0.5, 1.5, ROWS).astype("float32")
    weight[BAD_ROW] = 0.0
    return weight


def left_out(value: float) -> Callable[[Setup, str], tuple[Any, ...]]:
    """Spoil a row of weight 0: it must change neither value nor gradient."""

    def make(setup: Setup, side: str) -> tuple[Any, ...]:
        setup.weight = weighed_out()
        sound = setup.copy()
        shifted(setup, side, value)
        return (sound,)

    return make


def counted(value: float) -> Callable[[Setup, str], tuple[Any, ...]]:
    """Spoil a row that counts: an error, but for a loss that does not read it."""

    def make(setup: Setup, side: str) -> tuple[Any, ...]:
        sound = setup.copy()
        shifted(setup, side, value)
        return ("error", sound)

    return make


def scaled(factor: float) -> Callable[[Setup, str], tuple[Any, ...]]:
    """Multiply all signals of a side."""

    def make(setup: Setup, side: str) -> tuple[Any, ...]:
        setup.x[f"{side}_scale"] = factor * setup.x[f"{side}_scale"]
        return ("finite",)

    return make


for value in (np.nan, np.inf, -np.inf):
    on_each_side(f"{value}_in_a_row_of_weight_0", left_out(value))
    on_each_side(f"{value}_in_a_row_that_counts", counted(value))
for factor in (1e4, -1e4, 1e-8, 0.0):
    on_each_side(f"signals_times_{factor:g}", scaled(factor))


@defect
def equal_models(setup: Setup) -> tuple[Any, ...]:
    setup.same_models = True
    return ("finite",)


@defect
def zero_head(setup: Setup) -> tuple[Any, ...]:
    setup.zero_head = True
    return ("finite",)


@defect
def all_weights_0(setup: Setup) -> tuple[Any, ...]:
    setup.weight = np.zeros(ROWS, "float32")
    return ("finite",)


@defect
def one_class(setup: Setup) -> tuple[Any, ...]:
    setup.classes, setup.y = 1, np.zeros(ROWS, "int32")
    return ("error", "finite")


@defect
def one_example(setup: Setup) -> tuple[Any, ...]:
    setup.x = {key: value[:1] for key, value in setup.x.items()}
    setup.y = setup.y[:1]
    return ("error", "finite")


@defect
def empty(setup: Setup) -> tuple[Any, ...]:
    setup.x = {key: value[:0] for key, value in setup.x.items()}
    setup.y = setup.y[:0]
    return ("error",)


@defect
def label_above_the_classes(setup: Setup) -> tuple[Any, ...]:
    out = setup.copy(weight=np.where(np.arange(ROWS) == BAD_ROW, 0.0, 1.0))
    sound = setup.copy()
    setup.y = np.where(np.arange(ROWS) == BAD_ROW, CLASSES, setup.y)
    return ("error", sound, out)


@defect
def label_below_zero(setup: Setup) -> tuple[Any, ...]:
    out = setup.copy(weight=np.where(np.arange(ROWS) == BAD_ROW, 0.0, 1.0))
    sound = setup.copy()
    setup.y = np.where(np.arange(ROWS) == BAD_ROW, -1, setup.y)
    return ("error", sound, out)


@defect
def no_labels(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.y = None
    return ("error", sound)


@defect
def labels_in_a_column(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.y = setup.y[:, None]
    return (sound,)


@defect
def labels_as_floats(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.y = setup.y.astype("float32")
    return ("error", sound)


@defect
def labels_of_another_rank(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.y = np.repeat(setup.y[:, None, None], 2, 1)
    return ("error", sound)


@defect
def labels_as_strings(setup: Setup) -> tuple[Any, ...]:
    setup.y = np.array(list("abcabc"))
    return ("error",)


@defect
def weights_of_another_length(setup: Setup) -> tuple[Any, ...]:
    setup.weight = np.ones(ROWS - 1, "float32")
    return ("error",)


@defect
def images_of_another_rank(setup: Setup) -> tuple[Any, ...]:
    setup.x["image"] = setup.x["image"][..., 0]
    return ("error",)


@defect
def images_of_whole_numbers(setup: Setup) -> tuple[Any, ...]:
    setup.x["image"] = np.round(setup.x["image"])
    sound = setup.copy()
    setup.x["image"] = setup.x["image"].astype("int32")
    return ("error", sound)  # a convolution on torch takes no whole numbers


@defect
def images_in_double_precision(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.x["image"] = setup.x["image"].astype("float64")
    return (sound,)


@defect
def arrays_not_contiguous(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.x["image"] = np.repeat(setup.x["image"], 2, 0)[::2]
    setup.y = np.asfortranarray(np.stack([setup.y, setup.y], 1))[:, 0]
    return (sound,)


@defect
def arrays_backwards(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.x["image"] = np.ascontiguousarray(setup.x["image"][::-1])[::-1]
    return (sound,)


@defect
def arrays_read_only(setup: Setup) -> tuple[Any, ...]:
    sound = setup.copy()
    setup.x = {key: value.copy() for key, value in setup.x.items()}
    setup.y = setup.y.copy()
    for array in (*setup.x.values(), setup.y):
        array.flags.writeable = False
    return (sound,)


@defect
def the_loss_twice(setup: Setup) -> tuple[Any, ...]:
    setup.twice = True
    return ("error", "finite")


@defect
def the_name_of_another_entry(setup: Setup) -> tuple[Any, ...]:
    setup.arguments = {"name": "student_loss"}
    return ("error",)


def of_argument(name: str, value: Any) -> Defect:
    """Return the defect of a value that an argument must not have."""

    def make(setup: Setup) -> tuple[Any, ...]:
        setup.arguments = {name: value}
        return ("error",)

    return make


for name in ("temperature", "alpha", "beta", "gamma", "power"):
    for bad in (np.nan, np.inf, "4", [1.0], -1.0):
        DEFECTS[f"{name}_{bad!r}"] = of_argument(name, bad)
