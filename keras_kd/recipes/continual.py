"""A classifier that learns new classes and keeps the old ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_kd.distiller import Distiller
from keras_kd.hyperparameters import check_scalar
from keras_kd.losses.logits.class_subset_distillation import ClassSubsetDistillation
from keras_kd.recipes.chains import check_build
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import (
    Stage,
    Training,
    check_count,
    check_own_data,
    is_array,
)
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
    has an answer for all classes so far; its old ones learn from the model before, on
    the new examples, its new ones from the labels.

    Args:
        build: A function of a number of classes to a new, built model with so many
            logits. Layers keep their weights by their names, so these must be given.
        tasks: At least two pairs (x, y) of arrays; y holds class indices.
        training: How each task trains; x and y are the task's. Of arrays as
            `validation_data` each task sees the classes so far.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        replay: Number of examples of each old class that are kept and shown again.
            Defaults to 0: none.
        temperature: Positive number T of the old answers. Defaults to 2.0.
        distillation_weight: Weight of the old answers beside labels of weight 1.
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
    # Wrong numbers must not show after the hours of the first task.
    check_scalar("temperature", temperature, above=0)
    check_scalar("distillation_weight", distillation_weight, minimum=0)
    settings = {"classes": ends, "replay": replay}
    run = Run(directory, "learn_without_forgetting", settings, verbose=verbose)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for number, (x, y) in enumerate(tasks):
        x, y = np.asarray(x), np.asarray(y)
        old = run.stages[-1].student if run.stages else None
        shown = replace(
            training,
            x=np.concatenate([x, *(part for part, _ in kept)]),
            y=np.concatenate([y, *(part for _, part in kept)]),
            validation_data=_of_classes(training.validation_data, ends[number]),
        )

        def extended(classes: int = ends[number], old: Any = old) -> keras.Model:
            model = build(classes)
            if old is not None:
                _take_over(old, model)
            return model

        def distil(
            student: keras.Model, old: Any = old, known: int = ends[number - 1]
        ) -> Distiller:
            return Distiller(
                old,
                student,
                ClassSubsetDistillation(list(range(known)), temperature),
                student_loss_weight=1.0,
                distillation_weight=distillation_weight,
            )

        run.stage(f"task_{number}", extended, shown, None if old is None else distil)
        if replay:
            kept.append(_some_of_each(x, y, replay, training.seed + number))
    return run.stages


def _ends_of(tasks: Sequence[tuple[Any, Any]]) -> list[int]:
    """Return the number of classes after each task."""
    ends: list[int] = []
    for number, (_, y) in enumerate(tasks):
        first, last = int(np.min(y)), int(np.max(y))
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
    if len(ends) < 2:
        raise ValueError(
            f"`tasks` must hold at least two pairs (x, y). Received: {len(ends)}"
        )
    return ends


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
    """Return the validation examples of the classes that a model has."""
    if not isinstance(data, tuple) or not all(map(is_array, data)):
        return data
    return tuple(part[data[1] < count] for part in data)


def _some_of_each(x: Any, y: Any, count: int, seed: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(y == label))[:count]
            for label in np.unique(y)
        ]
    )
    return x[rows], y[rows]
