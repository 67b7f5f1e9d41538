"""Batches of arrays, in an order that seed and epoch alone determine."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd import _backend
from keras_kd.data.labels import class_indices

SAMPLE_IDS, INPUTS = "sample_id", "x"


@keras.saving.register_keras_serializable(package="keras_kd")
def without_sample_ids(x: Any) -> Any:
    """Return what the student takes of a batch with sample ids: `student_inputs=`.

    Args:
        x: The batch's x: a dict with "sample_id", or anything else.

    Returns:
        `x["x"]` where only that stands beside the ids, a dict of the rest where there
        is more; `x` itself where there are no ids, as in an evaluation on arrays.

    Example:
    >>> without_sample_ids({"x": 3, "sample_id": 1}), without_sample_ids(3)
    (3, 3)
    """
    if not isinstance(x, dict) or SAMPLE_IDS not in x:
        return x
    rest = {key: value for key, value in x.items() if key != SAMPLE_IDS}
    return rest[INPUTS] if list(rest) == [INPUTS] else rest


class ShuffledBatches(keras.utils.PyDataset):
    """Batches in a new random order each epoch, the same for the same seed and epoch.

    A run that starts again at epoch k gets the batches that it would have got without
    a break. A `Distiller` keeps their order. To `fit` of another model pass
    `shuffle=False`: it shuffles the batches' order once more, from a generator of its
    own. `steps_per_epoch` must be None: Keras would begin an epoch in the middle of its
    order; a `Distiller` refuses it.

    The order follows `epoch`, which rises at the end of each, in `evaluate` as well:
    make another object to evaluate on the same arrays. Where a callback decides at
    which epoch a run goes on (`keras.callbacks.BackupAndRestore`), let it follow `fit`:
    `LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch",
    epoch))`.

    Args:
        x: The inputs: an array, or a dict, list or tuple of arrays, one row per
            example. A list of numbers is no array.
        y: The labels, in such a structure, or None.
        batch_size: Number of rows of a batch; the last one may be smaller.
        seed: Seed of the order and of `augment`, an integer from 0. Defaults to 0.
        epoch: The epoch at which the run starts. Defaults to 0.
        sample_weight: The weights, in such a structure, or None.
        augment: A function (x of the batch, `numpy.random.Generator`) to the augmented
            x, called anew for each batch; or None. The generator follows from seed,
            epoch and batch.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of
            `keras.utils.PyDataset`.

    Raises:
        ValueError: An argument is none of these, or the arrays differ in length.

    Example:
    >>> batches = ShuffledBatches(np.arange(5), batch_size=2, seed=1)
    >>> [len(x) for (x,) in batches], batches.epoch
    ([2, 2, 1], 0)
    """

    # Whether x gets the "sample_id" of each example, its row in the arrays.
    numbered = False
    # The number of rows that belong together, of which `batch_size` is a multiple.
    group = 1

    def __init__(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        *,
        seed: int = 0,
        epoch: int = 0,
        sample_weight: Any = None,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for argument, value in (("seed", seed), ("epoch", epoch)):
            _check_integer(argument, value, minimum=0)
        _check_integer("batch_size", batch_size, minimum=1)
        if batch_size % self.group:
            raise ValueError(
                f"`batch_size` of {type(self).__name__} must be a multiple of "
                f"{self.group}. Received: batch_size={batch_size}"
            )
        if augment is not None and not callable(augment):
            raise ValueError(
                "`augment` must be None or a function of (x, generator). "
                f"Received: augment={augment!r}"
            )
        self.x, self.y, self.sample_weight = (
            keras.tree.map_structure(_as_array, part) for part in (x, y, sample_weight)
        )
        self.count = _count((self.x, self.y, self.sample_weight))
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.epoch = epoch
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Return the rows of an epoch, batch after batch.

        Args:
            epoch: The epoch, from −1, the one before the first.
        """
        return self.random(epoch).permutation(self.count)

    def random(self, epoch: int, batch: int = -1) -> np.random.Generator:
        """Return the generator of an epoch, or of one of its batches."""
        # Numbers from 1, because a seed with a 0 at its end is that without it.
        return np.random.default_rng([self.seed, epoch + 2, batch + 2])

    def rows(self, batch: int) -> np.ndarray:
        """Return the rows of a batch of this epoch."""
        start = batch * self.batch_size
        return self._rows_of_epoch()[start : start + self.batch_size]

    def _rows_of_epoch(self) -> np.ndarray:
        kept = self._order
        if kept is None or kept[0] != self.epoch:
            kept = self._order = self.epoch, self.order(self.epoch)
        return kept[1]

    def __len__(self) -> int:
        return -(-len(self._rows_of_epoch()) // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Received: index={index}")
        rows = self.rows(index)
        y, weight = (_take(part, rows) for part in (self.y, self.sample_weight))
        batch = (self._inputs(rows, self.random(self.epoch, index)), y, weight)
        return batch if weight is not None else batch[: 1 if y is None else 2]

    def _inputs(self, rows: np.ndarray, random: np.random.Generator) -> Any:
        x = self._augmented(rows, random)
        if not self.numbered or (isinstance(x, dict) and SAMPLE_IDS in x):
            return x
        return {
            **(x if isinstance(x, dict) else {INPUTS: x}),
            SAMPLE_IDS: rows.astype("int32"),
        }

    def _augmented(self, rows: np.ndarray, random: np.random.Generator) -> Any:
        x = _take(self.x, rows)
        return x if self.augment is None else self.augment(x, random)

    def on_epoch_end(self) -> None:
        if not _backend.is_rewinding_data():
            self.epoch += 1


class OverlappingBatches(ShuffledBatches):
    """Batches of which each holds half of the one before, for `LastBatchDistillation`.

    A batch is the second half of the last one and `batch_size / 2` new examples; an
    epoch shows each example once as new and once more in the batch after, so it has
    twice as many batches as without overlap. The first batch begins with the last half
    of the epoch before. x becomes a dict with "sample_id", an array x its entry "x":
    pass `student_inputs=keras_kd.data.without_sample_ids` to the Distiller. A dict x
    that has "sample_id" keeps its own. In another order, as after `shuffle=True` in the
    `fit` of a plain model, batches do not overlap.

    Args: as `ShuffledBatches`, with an even `batch_size`. `augment` sees an example
    anew in each of its batches, as published.

    Example:
    >>> batches = OverlappingBatches(np.zeros((8, 3)), batch_size=4)
    >>> first, second = batches[0][0]["sample_id"], batches[1][0]["sample_id"]
    >>> bool((first[2:] == second[:2]).all()), len(batches)
    (True, 4)

    Reference: Shen et al., 2022, arXiv:2203.16172.
    """

    numbered = True
    group = 2

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size // 2))

    def rows(self, batch: int) -> np.ndarray:
        half = self.batch_size // 2
        new = self._rows_of_epoch()[batch * half : (batch + 1) * half]
        if batch:
            old = self._rows_of_epoch()[(batch - 1) * half : batch * half]
        else:
            old = self.order(self.epoch - 1)[(len(self) - 1) * half :]
        return np.concatenate([old, new])


class SameClassBatches(ShuffledBatches):
    """Batches of pairs of one class, for `SameClassDistillation`.

    Each epoch divides every class into new pairs, in random order, so each example
    is shown once; of an odd class the last is paired with another that is shown twice,
    and an only example with itself.

    Args: as `ShuffledBatches`, with an even `batch_size`. `y` is an array of class
    indices of shape `(count,)` or `(count, 1)`, or one value per class of shape
    `(count, classes)`, of which the largest counts.

    Example:
    >>> batches = SameClassBatches(np.zeros((6, 3)), np.array([0, 1, 0, 1, 2, 2]), 2)
    >>> [bool(y[0] == y[1]) for _, y in batches]
    [True, True, True]

    Reference: Yun et al., 2020, arXiv:2003.13964. They draw for each example of an
    epoch one more of its class.
    """

    group = 2

    def __init__(
        self, x: Any, y: Any = None, batch_size: int = 32, **kwargs: Any
    ) -> None:
        super().__init__(x, y, batch_size, **kwargs)
        shape = getattr(self.y, "shape", None)
        if shape is None or len(shape) not in (1, 2):
            raise ValueError(
                "SameClassBatches needs `y`, one array with the class of each example. "
                f"Received: y={shape if shape is not None else type(y).__name__}"
            )
        labels = class_indices(self.y)
        self._classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def order(self, epoch: int) -> np.ndarray:
        random, pairs = self.random(epoch), []
        for members in self._classes:
            mixed = random.permutation(members)
            if len(mixed) % 2:
                mixed = np.append(mixed, mixed[random.integers(max(len(mixed) - 1, 1))])
            pairs.append(mixed.reshape(-1, 2))
        return random.permutation(np.concatenate(pairs)).reshape(-1)


class Views(ShuffledBatches):
    """Batches with several views of each example, for `ViewAgreementDistillation`.

    A batch holds the first views of `batch_size / views` examples, then their second
    views, and so on. x becomes a dict with "sample_id", the same for all views of an
    example, as in `OverlappingBatches`. Without `augment` the views are copies, which
    only the student's dropout tells apart.

    Args: as `ShuffledBatches`, with `batch_size`, the rows of all views together, a
    multiple of `views`, and
        views: Number of views of an example, at least 2. Defaults to 2.

    Example:
    >>> noisy = lambda x, random: x + random.normal(size=x.shape)
    >>> batches = Views(np.zeros((4, 3)), None, 4, noisy)
    >>> (x,) = batches[0]
    >>> x["x"].shape, bool((x["sample_id"][:2] == x["sample_id"][2:]).all())
    ((4, 3), True)
    """

    numbered = True

    def __init__(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        views: int = 2,
        **kwargs: Any,
    ) -> None:
        _check_integer("views", views, minimum=2)
        self.group = self.views = views
        super().__init__(x, y, batch_size, augment=augment, **kwargs)

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size // self.views))

    def rows(self, batch: int) -> np.ndarray:
        size = self.batch_size // self.views
        rows = self._rows_of_epoch()[batch * size : (batch + 1) * size]
        return np.tile(rows, self.views)

    def _augmented(self, rows: np.ndarray, random: np.random.Generator) -> Any:
        # View by view, so that what an augmentation draws once for all is not shared.
        seen = [
            super(Views, self)._augmented(view, random)
            for view in np.split(rows, self.views)
        ]
        return keras.tree.map_structure(lambda *a: np.concatenate(a), *seen)


def _as_array(part: Any) -> Any:
    if part is None:
        return None
    return ops.convert_to_numpy(part) if ops.is_tensor(part) else np.asarray(part)


def _take(part: Any, rows: np.ndarray) -> Any:
    return keras.tree.map_structure(lambda a: None if a is None else a[rows], part)


def _count(parts: Any) -> int:
    shapes = [a.shape for a in keras.tree.flatten(parts) if a is not None]
    counts = {shape[0] if shape else None for shape in shapes}
    if len(counts) != 1 or counts & {None, 0}:
        raise ValueError(
            "`x`, `y` and `sample_weight` must be arrays with one row per example, and "
            f"at least one. Received: arrays of shape {shapes}."
        )
    return int(shapes[0][0])


def _check_integer(argument: str, value: Any, *, minimum: int) -> None:
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < minimum:
        raise ValueError(
            f"`{argument}` must be an integer, at least {minimum}. "
            f"Received: {argument}={value!r}"
        )


def in_own_order(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `fit` for batches that have an order of their own.

    Args:
        given: All arguments of `fit`, by name.

    Returns:
        The same where `x` is no `ShuffledBatches`; else such that Keras neither
        shuffles the batches once more nor cuts an epoch short.

    Raises:
        ValueError: If an epoch would be cut short.
    """
    batches, steps = given["x"], given["steps_per_epoch"]
    if not isinstance(batches, ShuffledBatches):
        return given
    if steps is not None and steps != len(batches):
        raise ValueError(
            f"`steps_per_epoch` must be None for {type(batches).__name__}: Keras would "
            "begin the next epoch in the middle of its new order. Received: "
            f"steps_per_epoch={steps}, for an epoch of {len(batches)} batches."
        )
    return {**given, "shuffle": False, "steps_per_epoch": None}
