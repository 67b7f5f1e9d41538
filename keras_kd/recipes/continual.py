"""A classifier that learns new classes and keeps the old ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_kd.data.labels import class_indices, labels_like
from keras_kd.distiller import Distiller
from keras_kd.hyperparameters import check_scalar
from keras_kd.losses.logits.class_subset_distillation import ClassSubsetDistillation
from keras_kd.recipes.chains import Build, check_build
from keras_kd.recipes.public import joined, logits_of_one, rows_of
from keras_kd.recipes.rehearsal import Rehearsal
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training, check_count, check_own_data
from keras_kd.recipes.transfer import own_weights, transfer_weights


def learn_without_forgetting(
    build: Callable[[int], keras.Model],
    tasks: Sequence[tuple[Any, Any]],
    training: Training,
    *,
    directory: Any,
    replay: int = 0,
    temperature: float = 2.0,
    distillation_weight: float = 1.0,
    verbose: int = 1,
) -> list[Stage]:
    """Learn one task of new classes after the other, taught by the model before.

    Each task has new classes, numbered on from the last task's. The model of a task
    has a logit for each class so far; its old ones learn from the model before, on the
    new examples, its new ones from the labels. A directory can be continued with one
    task more.

    Args:
        build: A function of a number of classes to a new, built model with so many
            logits. Layers keep their weights by their names, so these must be given.
        tasks: At least two pairs (x, y) of arrays; y holds class indices of shape
            `(count,)` or `(count, 1)`, or one-hot labels of any width.
        training: How each task trains; x and y are the task's. Of arrays as
            `validation_data` each task sees the classes so far.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        replay: Number of examples of each old class that are kept and shown again.
            Defaults to 0: none.
        temperature: Positive number T of the old logits. Defaults to 2.0.
        distillation_weight: Weight of the old logits beside labels of weight 1.
            Defaults to 1.0.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "task_0", "task_1" and so on.

    Raises:
        ValueError: An argument is none of these, or a task's labels do not go on from
            the last.

    Example:
    ```python
    stages = keras_kd.recipes.learn_without_forgetting(
        build,
        [(x_0_to_4, y_0_to_4), (x_5_to_9, y_5_to_9)],
        training,
        directory="runs/continual",
        replay=10,
    )
    student = stages[-1].student
    ```

    References: Li and Hoiem, 2016, arXiv:1606.09282, who know the task of an example:
    they give each task a softmax of its own, first warm up the new classifier alone,
    and have no factor T², so that their weight of 1 is 0.25 here, at T 2. Here one
    softmax covers all classes; without `replay` it tells old classes from each other,
    but seldom from new ones. `replay`: Rebuffi et al., 2017, iCaRL,
    arXiv:1611.07725.
    """
    check_count("replay", replay, 0)
    check_build("build", build)
    check_own_data(training, "sample_weight")
    ends = _ends_of(tasks)
    check_scalar("temperature", temperature, above=0)
    check_scalar("distillation_weight", distillation_weight, minimum=0)
    for classes in ends:
        _check_logits(build, classes, tasks[0][0])
    trainings = _trainings(training, tasks, ends, replay)

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        for number, classes in enumerate(ends):
            before = run.stages[-1].student if number else None
            run.stage(
                f"task_{number}",
                _extended(build, classes, before),
                trainings[number],
                None
                if before is None
                else _taught_by(
                    before, ends[number - 1], temperature, distillation_weight
                ),
            )
        return run.stages

    run = Run(directory, "learn_without_forgetting", verbose=verbose)
    return run.carry_out(recipe)


def _ends_of(tasks: Sequence[tuple[Any, Any]]) -> list[int]:
    """Return the number of classes after each task."""
    pairs = all(isinstance(task, (list, tuple)) and len(task) == 2 for task in tasks)
    if not pairs or len(tasks) < 2:
        raise ValueError(
            f"`tasks` must hold at least two pairs (x, y). Received: {len(tasks)}"
        )
    ends: list[int] = []
    for number, (_, y) in enumerate(tasks):
        labels = class_indices(y, "`tasks`")
        first, last = int(labels.min()), int(labels.max())
        if first != (ends[-1] if ends else 0):
            raise ValueError(
                "`tasks` must number their classes on, from 0. Received: task "
                f"{number} with labels from {first} to {last}, after "
                f"{ends[-1] if ends else 0} classes."
            )
        if last == 0:
            raise ValueError(
                "`tasks` must begin with at least two classes, or there is nothing to "
                "tell apart. Received: a first task with one."
            )
        ends.append(last + 1)
    return ends


def _check_logits(build: Callable[[int], keras.Model], classes: int, x: Any) -> None:
    logits = logits_of_one(partial(build, classes), x, "build", "tasks")
    if logits != classes:
        raise ValueError(
            "`build` must return a model with as many logits as it is asked for. "
            f"Received: build({classes}), which returned a model with {logits} logits."
        )


def _trainings(
    training: Training, tasks: Sequence[tuple[Any, Any]], ends: list[int], replay: int
) -> list[Training]:
    """Return the training of each task: its examples and those that are replayed."""
    trainings: list[Training] = []
    kept: list[tuple[Any, np.ndarray]] = []
    for number, (x, y) in enumerate(tasks):
        labels = class_indices(y, "`tasks`")
        seen = np.concatenate([labels, *(part for _, part in kept)])
        trainings.append(
            replace(
                training,
                x=joined([x, *(part for part, _ in kept)]),
                y=labels_like(y, seen, ends[number]),
                validation_data=_of_classes(training.validation_data, ends[number]),
            )
        )
        if replay:
            rows = _some_of_each(labels, replay, training.seed + number)
            kept.append((rows_of(x, rows), labels[rows]))
    return trainings


def _extended(
    build: Callable[[int], keras.Model], classes: int, before: keras.Model | None
) -> Build:
    """Return a function that builds a model of more classes with what one knows."""

    def build_extended() -> keras.Model:
        model = build(classes)
        if before is not None:
            _take_over(before, model)
        return model

    return build_extended


def _taught_by(
    before: keras.Model, known: int, temperature: float, distillation_weight: float
) -> Callable[[keras.Model], Distiller]:
    """Return what trains a model that keeps the logits of the classes known before."""

    def distil(student: keras.Model) -> Distiller:
        return Distiller(
            before,
            student,
            ClassSubsetDistillation(list(range(known)), temperature),
            student_loss_weight=1.0,
            distillation_weight=distillation_weight,
        )

    return distil


def _take_over(old: keras.Model, model: keras.Model) -> None:
    """Copy all that the model before has learned; what is left out is forgotten."""
    missed = sorted(
        set(own_weights(old)) - set(transfer_weights(old, model, grow=True))
    )
    if missed:
        raise ValueError(
            "`build` must give models whose layers have the same names and sizes for "
            "any number of classes, but for the classifier, which grows. Received: "
            f"{model.name!r}, which cannot take over {missed}. Name all layers."
        )


def _of_classes(data: Any, count: int) -> Any:
    """Return the validation examples of the classes that a model has, or None."""
    if not isinstance(data, (list, tuple)) or len(data) < 2 or data[1] is None:
        return data
    x, y, *weights = data
    labels = class_indices(y, "`training.validation_data`")
    known = labels < count
    if not known.any():
        return None
    return (
        rows_of(x, known),
        labels_like(y, labels[known], count),
        *(rows_of(part, known) for part in weights),
    )


def _some_of_each(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the rows of so many examples of each class."""
    random = np.random.default_rng(seed)
    return np.concatenate(
        [
            random.permutation(np.flatnonzero(labels == label))[:count]
            for label in np.unique(labels)
        ]
    )
