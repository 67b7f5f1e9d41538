"""Recipes that train one student in phases, or let it grow."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_kd.distiller import Distiller
from keras_kd.recipes.chains import (
    Build,
    Distil,
    check_build,
    check_builds,
    going_on,
    soft_targets,
    taught_by,
)
from keras_kd.recipes.rehearsal import Rehearsal, check_student
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training, check_count
from keras_kd.recipes.transfer import transfer_weights
from keras_kd.signals.layer_paths import find_layer, walk


@dataclass(frozen=True)
class Phase:
    """What a student learns in one phase of `stage_wise`.

    Args:
        losses: Returns new distillation losses, one or a list.
        epochs: Number of epochs, or None for that of the training.
        student_loss_weight: Weight of the labels. Defaults to 0.0.
        distillation_weight: Weight of the distillation losses. Defaults to 1.0.
        trainable: The paths of the layers that train in this phase, all others being
            frozen; or None for all of them.

    Raises:
        ValueError: An argument is none of these.

    Example:
    >>> phase = Phase(lambda: FeatureDistillation("mse", "stage_1", "stage_1"))
    >>> phase.student_loss_weight
    0.0
    """

    losses: Callable[[], Any]
    epochs: int | None = None
    student_loss_weight: float = 0.0
    distillation_weight: float = 1.0
    trainable: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_build("losses", self.losses)
        if self.epochs is not None:
            check_count("epochs", self.epochs, 1)
        if self.trainable is not None and (
            isinstance(self.trainable, str) or not self.trainable
        ):
            raise ValueError(
                "`trainable` must be None or a list of the paths of layers. "
                f"Received: trainable={self.trainable!r}"
            )

    def distiller(self, teacher: keras.Model, student: keras.Model) -> Distiller:
        """Return what trains a student in this phase."""
        return Distiller(
            teacher,
            student,
            self.losses(),
            student_loss_weight=self.student_loss_weight,
            distillation_weight=self.distillation_weight,
        )


def stage_wise(
    build: Build,
    teacher: keras.Model,
    phases: Sequence[Phase],
    training: Training,
    *,
    directory: Any,
    verbose: int = 1,
) -> list[Stage]:
    """Train one student layer by layer: each phase has its losses and its layers.

    Usual: one phase per stage of the network that compares the features there and
    trains the layers up to it, then one that compares the logits and trains all.

    Args:
        build: Returns a new, built student.
        teacher: A trained Keras model.
        phases: The phases in their order, at least one.
        training: How each phase trains.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "phase_0", "phase_1" and so on; the last holds the student.

    Raises:
        ValueError: An argument is none of these, or a layer is missing.

    Example:
    ```python
    stages = keras_kd.recipes.stage_wise(
        build_student,
        teacher,
        [
            Phase(lambda: FeatureDistillation("mse", "stage_1", "stage_1")),
            Phase(lambda: FeatureDistillation("mse", "stage_2", "stage_2")),
            Phase(lambda: LogitsDistillation(4.0), student_loss_weight=0.1),
        ],
        training,
        directory="runs/stage_wise",
    )
    student = stages[-1].student
    ```

    References: Romero et al., 2015, FitNets, arXiv:1412.6550, with one such phase;
    Jiao et al., 2020, TinyBERT, arXiv:1909.10351, with two.
    """
    phases = list(phases)
    if not phases or not all(isinstance(phase, Phase) for phase in phases):
        raise ValueError(
            "`phases` must be a list of `keras_kd.recipes.Phase`. "
            f"Received: phases={phases!r}"
        )
    check_build("build", build)

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        for number, phase in enumerate(phases):
            before = run.stages[-1].student if number else None
            run.stage(
                f"phase_{number}",
                going_on(build, before),
                replace(training, epochs=phase.epochs or training.epochs),
                taught_by(phase.distiller, teacher),
                during=_only(phase.trainable),
                settings={"trainable": phase.trainable},
            )
        return run.stages

    return Run(directory, "stage_wise", verbose=verbose).carry_out(recipe)


def _only(paths: Sequence[str] | None) -> Any:
    """Return a scope in which some layers of a student train, and others do not."""

    @contextmanager
    def scope(student: keras.Model) -> Iterator[None]:
        if paths is None:
            yield
            return
        chosen = [find_layer(student, path, side="student") for path in paths]
        kept = {id(weight) for layer in chosen for weight in layer.weights}
        if not kept & {id(weight) for weight in student.trainable_weights}:
            raise ValueError(
                "`trainable` must name layers that have weights to train. Received: "
                f"trainable={list(paths)}, which have none in {student.name!r}."
            )
        layers = [layer for _, layer in walk(student)]
        # Of layers and of weights: a layer passes its own flag on to what it holds.
        before = [(held, held.trainable) for held in [*layers, *student.weights]]
        for layer in layers:
            # Layers and not weights: batch normalisation, too, must stand still.
            if not kept & {id(weight) for weight in layer.weights}:
                layer.trainable = False
        for weight in student.trainable_weights:
            if id(weight) not in kept:
                weight.trainable = False
        try:
            yield
        finally:
            for held, was_trainable in before:
                if held.trainable is not was_trainable:
                    held.trainable = was_trainable

    return scope


def grow(
    builds: Sequence[Build],
    training: Training,
    *,
    directory: Any,
    teacher: keras.Model | None = None,
    distil: Distil = soft_targets,
    verbose: int = 1,
) -> list[Stage]:
    """Train a student that grows: each stage takes over the weights of the one before.

    Args:
        builds: At least two functions that return a new, built student, from the
            smallest to the final one. Layers of the same path and shape are taken
            over, so the layers need names; what is new starts at random.
        training: How each stage trains.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        teacher: What all of them learn from, or None for the labels alone.
        distil: A function of (teacher, student) to a `Distiller`, not compiled.
            Defaults to soft targets at temperature 4.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "size_0", "size_1" and so on; the last holds the student.

    Raises:
        ValueError: An argument is none of these, or two students in a row have no
            layer in common.

    Example:
    ```python
    stages = keras_kd.recipes.grow(
        [lambda: build(2), lambda: build(4), lambda: build(6)],  # of so many blocks
        training,
        teacher=teacher,
        directory="runs/grow",
    )
    student = stages[-1].student
    ```

    Reference: Gong et al., 2019, progressive stacking, ICML, who copy the lower half
    into the upper one.
    """
    check_builds("builds", builds, 2)

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        make = None if teacher is None else taught_by(distil, teacher)
        for number, build in enumerate(builds):
            before = run.stages[-1].student if number else None
            run.stage(f"size_{number}", _grown(build, before), training, make)
        return run.stages

    return Run(directory, "grow", verbose=verbose).carry_out(recipe)


def _grown(build: Build, before: keras.Model | None) -> Build:
    """Return a function that builds a model with what a smaller one has learned."""

    def build_larger() -> keras.Model:
        student = build()
        if before is not None:
            check_student(student, "builds")
            transfer_weights(before, student)
        return student

    return build_larger
