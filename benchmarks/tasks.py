"""The two sets that the methods are compared on, with all that the protocol fixes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.data import Arrays, fashion_mnist
from benchmarks.emoji import emoji


@dataclass
class Task:
    """The images of the student, of validation, of the test and of the teacher.

    Attributes:
        student: Images and labels that the student learns from.
        validation: Those that a loss weight may be chosen on.
        test: Those that are read once.
        teacher: Those that the teacher learns from.
        teacher_epochs: How long it does.
        epochs: How long the student learns.
    """

    student: Arrays
    validation: Arrays
    test: Arrays
    teacher: Arrays
    teacher_epochs: int
    epochs: int


def _fashion_mnist() -> Task:
    """Return 4,000 images for the student, 50,000 for the teacher, 10,000 to test."""
    (x, y), test = fashion_mnist()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order].astype("int32")
    student, teacher, validation = slice(4_000), slice(50_000), slice(50_000, None)
    return Task(
        (x[student], y[student]),
        (x[validation], y[validation]),
        test,
        (x[teacher], y[teacher]),
        teacher_epochs=5,
        epochs=20,
    )


def _emoji() -> Task:
    """Return 1,000 emoji to learn from, 200 to choose on, 711 to test, split by emoji.

    The student sees Google's picture of each. The teacher sees both vendors' pictures
    of the same emoji, shifted and mirrored eight times.
    """
    images, y = emoji()
    order = np.random.default_rng(0).permutation(len(y))
    learn, choose, test = np.split(order, [1_000, 1_200])
    random = np.random.default_rng(1)
    many = [_augmented(x[learn], random) for x in images.values() for _ in range(8)]
    x = images["google"]
    return Task(
        (x[learn], y[learn]),
        (x[choose], y[choose]),
        (x[test], y[test]),
        (np.concatenate(many), np.tile(y[learn], len(many))),
        teacher_epochs=8,
        epochs=40,
    )


def _augmented(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the images shifted by up to 4 pixels, every other one mirrored."""
    padded = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="edge")
    size = x.shape[1]
    made = np.empty_like(x)
    for place, image in enumerate(padded):
        top, left = random.integers(0, 9, 2)
        piece = image[top : top + size, left : left + size]
        made[place] = piece[:, ::-1] if random.random() < 0.5 else piece
    return made


TASKS: dict[str, Callable[[], Task]] = {
    "fashion_mnist": _fashion_mnist,
    "emoji": _emoji,
}
