"""Batches that begin with what is easy."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_kd.data.batches import ShuffledBatches
from keras_kd.data.labels import class_indices

_MEASURES = ("loss", "confidence", "entropy")


def difficulty(
    teacher: keras.Model,
    x: Any,
    y: Any = None,
    *,
    by: str = "loss",
    batch_size: int = 256,
) -> np.ndarray:
    """Return how hard each example is to the teacher.

    Args:
        teacher: A trained model that gives logits `(batch, classes)`.
        x: The inputs, arrays.
        y: The class of each example, for "loss": indices of shape `(count,)` or
            `(count, 1)`, or one value per class, of which the largest counts.
        by: "loss", the cross-entropy of the label; "confidence", 1 − the largest
            probability; or "entropy" of the probabilities. Defaults to "loss".
        batch_size: Number of examples that the teacher runs on at once.

    Returns:
        Array of shape `(count,)`, larger for what is harder; with "loss" inf where the
        teacher leaves the label out.

    Raises:
        ValueError: An argument is none of these, or a label names no class.

    Example:
    >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> difficulty(teacher, np.zeros((2, 4)), by="entropy").round(3).tolist()
    [1.099, 1.099]
    """
    if by not in _MEASURES:
        raise ValueError(
            f"`by` must be one of {', '.join(_MEASURES)}. Received: by={by!r}"
        )
    if by == "loss" and y is None:
        raise ValueError(
            "`y` must hold the class of each example for by='loss'. Received: y=None"
        )
    logits = teacher.predict(x, batch_size=batch_size, verbose=0).astype("float64")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    if by == "loss":
        return -log_p[np.arange(len(log_p)), _classes_of(y, log_p.shape)]
    if by == "confidence":
        return 1.0 - np.exp(log_p.max(axis=-1))
    p = np.exp(log_p)
    return -(p * np.where(p > 0.0, log_p, 0.0)).sum(axis=-1)


def _classes_of(y: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the class of each example; of soft labels the largest counts."""
    count, classes = shape
    if np.shape(y) not in ((count,), (count, 1), shape):
        raise ValueError(
            f"`y` must hold one class index per example, of shape ({count},), or one "
            f"value per class, of shape {shape}. Received: y of shape {np.shape(y)}"
        )
    labels = class_indices(y)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"`y` must hold classes from 0 to {classes - 1}. Received: labels from "
            f"{labels.min()} to {labels.max()}. Leave out the examples without a class."
        )
    return labels


class LinearPacing:
    """The share of the examples that an epoch draws from: it grows to all of them.

    min(start + (1 − start) · epoch / epochs, 1).

    Args:
        start: The share in the first epoch, above 0, at most 1. Defaults to 0.3.
        epochs: The epoch from which on all examples are shown, at least 1.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> pacing = LinearPacing(0.5, epochs=4)
    >>> [pacing(epoch) for epoch in (0, 2, 4, 9)]
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, start: float = 0.3, *, epochs: int) -> None:
        if not isinstance(start, (int, float)) or not 0.0 < start <= 1.0:
            raise ValueError(
                f"`start` must be above 0 and at most 1. Received: start={start!r}"
            )
        if not isinstance(epochs, int) or epochs < 1:
            raise ValueError(
                f"`epochs` must be a positive integer. Received: epochs={epochs!r}"
            )
        self.start, self.epochs = float(start), epochs

    def __call__(self, epoch: int) -> float:
        return min(self.start + (1.0 - self.start) * epoch / self.epochs, 1.0)


class CurriculumBatches(ShuffledBatches):
    """Batches from the easiest examples only, of which each epoch admits more.

    An epoch draws as many rows as there are examples, in random order, from the
    easiest share of them: early epochs show the easy ones several times. Every epoch
    costs the same, and the steps of schedules stay what they are.

    Args: as `ShuffledBatches`, and
        difficulty: Array of shape `(count,)`, larger for what is harder; see
            `keras_kd.data.difficulty`.
        pacing: A function of the epoch to the share of the examples, from 0 to 1, as
            `LinearPacing`.

    Raises:
        ValueError: `difficulty` or `pacing` is none of these.

    Example:
    >>> batches = CurriculumBatches(
    ...     np.arange(4.0),
    ...     batch_size=4,
    ...     difficulty=np.array([3, 1, 2, 0]),
    ...     pacing=LinearPacing(0.5, epochs=2),
    ... )
    >>> sorted(batches[0][0].tolist())
    [1.0, 1.0, 3.0, 3.0]

    Reference: Bengio et al., 2009, Curriculum learning, ICML.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        *,
        difficulty: Any,
        pacing: Callable[[int], float],
        **kwargs: Any,
    ) -> None:
        super().__init__(x, y, batch_size, **kwargs)
        hardness = np.asarray(difficulty)
        if hardness.shape != (self.count,) or not np.isfinite(hardness).all():
            raise ValueError(
                "`difficulty` must hold one finite number per example. Received: "
                f"shape {hardness.shape}, for {self.count} examples."
            )
        if not callable(pacing):
            raise ValueError(
                "`pacing` must be a function of the epoch to a share. "
                f"Received: pacing={pacing!r}"
            )
        self.pacing = pacing
        self._easiest = np.argsort(hardness, kind="stable")

    def order(self, epoch: int) -> np.ndarray:
        share = min(max(float(self.pacing(max(epoch, 0))), 0.0), 1.0)
        admitted = self._easiest[: max(1, round(share * self.count))]
        random = self.random(epoch)
        rounds = -(-self.count // len(admitted))
        mixed = [random.permutation(admitted) for _ in range(rounds)]
        return np.concatenate(mixed)[: self.count]
