"""Recipes whose stages teach one another in a row."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd.distiller import Distiller
from keras_kd.losses.logits.logits_distillation import LogitsDistillation
from keras_kd.recipes.rehearsal import Rehearsal
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training, check_count
from keras_kd.teachers.ensemble import Ensemble

Build = Callable[[], keras.Model]
Distil = Callable[[keras.Model, keras.Model], Distiller]


def soft_targets(teacher: keras.Model, student: keras.Model) -> Distiller:
    """Return what trains a student in a recipe that is given nothing else.

    Soft targets at temperature 4, of weight 0.9, and labels of weight 0.1.
    """
    return Distiller(teacher, student, LogitsDistillation(4.0), student_loss_weight=0.1)


def born_again(
    build: Build,
    training: Training,
    *,
    directory: Any,
    generations: int = 2,
    teacher: keras.Model | None = None,
    distil: Distil = soft_targets,
    verbose: int = 1,
) -> list[Stage]:
    """Train a model, then new ones of the same kind, each by the one before.

    Generation 0 learns from the labels (or is the given teacher), generation k from
    generation k − 1. The published ensemble is `keras_kd.teachers.Ensemble` of the
    students.

    Args:
        build: Returns a new, built student.
        training: How each generation trains.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        generations: Number of generations after the first, at least 1. Defaults to 2.
        teacher: A trained generation 0, or None to train one.
        distil: A function of (teacher, student) to a `Distiller`, not compiled.
            Defaults to soft targets at temperature 4.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "generation_0", "generation_1" and so on.

    Raises:
        ValueError: An argument is none of these.

    Example:
    ```python
    stages = keras_kd.recipes.born_again(
        build_student, training, directory="runs/born_again", generations=3
    )
    best = stages[-1].student
    ```

    Reference: Furlanello et al., 2018, arXiv:1805.04770.
    """
    check_count("generations", generations, 1)
    check_build("build", build)
    first = 0 if teacher is None else 1
    names = [f"generation_{number}" for number in range(first, generations + 1)]

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        return _each_by_the_one_before(
            run, [(name, build) for name in names], training, teacher, distil
        )

    return Run(directory, "born_again", verbose=verbose).carry_out(recipe)


def assistant_chain(
    builds: Sequence[Build],
    training: Training,
    *,
    directory: Any,
    teacher: keras.Model | None = None,
    distil: Distil = soft_targets,
    verbose: int = 1,
) -> list[Stage]:
    """Train ever smaller students, each by the one before: teacher assistants.

    Args:
        builds: Functions that return a new, built student, from the largest to the
            smallest. Without `teacher` the first learns from the labels.
        training: How each of them trains.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        teacher: A trained teacher of the first, or None.
        distil: A function of (teacher, student) to a `Distiller`, not compiled.
            Defaults to soft targets at temperature 4.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "assistant_0", "assistant_1" and so on; the last is the student.

    Raises:
        ValueError: An argument is none of these.

    Example:
    ```python
    stages = keras_kd.recipes.assistant_chain(
        [build_middle, build_small], training, teacher=teacher, directory="runs/chain"
    )
    student = stages[-1].student
    ```

    Reference: Mirzadeh et al., 2020, arXiv:1902.03393.
    """
    check_builds("builds", builds, 1)
    stages = [(f"assistant_{number}", build) for number, build in enumerate(builds)]

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        return _each_by_the_one_before(run, stages, training, teacher, distil)

    return Run(directory, "assistant_chain", verbose=verbose).carry_out(recipe)


def _each_by_the_one_before(
    run: Run | Rehearsal,
    stages: Sequence[tuple[str, Build]],
    training: Training,
    teacher: keras.Model | None,
    distil: Distil,
) -> list[Stage]:
    for name, build in stages:
        make = None if teacher is None else taught_by(distil, teacher)
        teacher = run.stage(name, build, training, make).student
    return run.stages


def ensemble(
    builds: Sequence[Build],
    build_student: Build,
    training: Training,
    *,
    directory: Any,
    combine: Callable[[list[keras.Model]], keras.Model] | None = None,
    distil: Distil = soft_targets,
    verbose: int = 1,
) -> list[Stage]:
    """Train several teachers, then a student by all of them.

    Args:
        builds: At least two functions that return a new, built teacher; one function
            several times for teachers that differ in their random weights alone.
        build_student: Returns a new, built student.
        training: How each of them trains.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        combine: Makes the teacher of a list of models. Defaults to
            `keras_kd.teachers.Ensemble` of mean probabilities at temperature 4.
        distil: A function of (teacher, student) to a `Distiller`, not compiled.
            Defaults to soft targets at temperature 4.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "member_0", "member_1" and so on, and "student".

    Raises:
        ValueError: An argument is none of these.

    Example:
    ```python
    stages = keras_kd.recipes.ensemble(
        [build_teacher] * 3, build_student, training, directory="runs/ensemble"
    )
    student = stages[-1].student
    ```
    """
    check_builds("builds", builds, 2)
    check_build("build_student", build_student)

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        for number, build in enumerate(builds):
            run.stage(f"member_{number}", build, training)
        return _distilled_ensemble(run, build_student, training, combine, distil)

    return Run(directory, "ensemble", verbose=verbose).carry_out(recipe)


def snapshots(
    build: Build,
    training: Training,
    *,
    directory: Any,
    cycles: int = 3,
    build_student: Build | None = None,
    combine: Callable[[list[keras.Model]], keras.Model] | None = None,
    distil: Distil = soft_targets,
    verbose: int = 1,
) -> list[Stage]:
    """Train a model in cycles, and a student by the ensemble of its own snapshots.

    Each cycle is a training of its own, with a learning rate that starts high again,
    from the weights that the last one ended at; give `training.compile` a rate that
    falls to near 0, as `keras.optimizers.schedules.CosineDecay` over one cycle.

    Args:
        build: Returns a new, built model.
        training: How each cycle trains, and the student.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        cycles: Number of cycles, at least 2. Defaults to 3.
        build_student: Returns a new, built student. Defaults to `build`.
        combine: Makes the teacher of a list of models. Defaults to
            `keras_kd.teachers.Ensemble` of mean probabilities at temperature 4.
        distil: A function of (teacher, student) to a `Distiller`, not compiled.
            Defaults to soft targets at temperature 4.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The stages "snapshot_0", "snapshot_1" and so on, and "student".

    Raises:
        ValueError: An argument is none of these.

    Example:
    ```python
    stages = keras_kd.recipes.snapshots(
        build_model, training, directory="runs/snapshots", cycles=3
    )
    student = stages[-1].student
    ```

    Reference: Huang et al., 2017, snapshot ensembles, arXiv:1704.00109.
    """
    check_count("cycles", cycles, 2)
    check_build("build", build)
    if build_student is not None:
        check_build("build_student", build_student)

    def recipe(run: Run | Rehearsal) -> list[Stage]:
        for number in range(cycles):
            before = run.stages[-1].student if number else None
            run.stage(f"snapshot_{number}", going_on(build, before), training)
        student = build_student or build
        return _distilled_ensemble(run, student, training, combine, distil)

    return Run(directory, "snapshots", verbose=verbose).carry_out(recipe)


def going_on(build: Build, before: keras.Model | None) -> Build:
    """Return a function that builds a model with the weights of another, if any."""

    def build_on() -> keras.Model:
        model = build()
        if before is not None:
            model.set_weights(before.get_weights())
        return model

    return build_on


def _distilled_ensemble(
    run: Run | Rehearsal,
    build_student: Build,
    training: Training,
    combine: Callable[[list[keras.Model]], keras.Model] | None,
    distil: Distil,
) -> list[Stage]:
    members = [stage.student for stage in run.stages]
    teacher = (
        Ensemble(members, temperature=4.0) if combine is None else combine(members)
    )
    run.stage("student", build_student, training, taught_by(distil, teacher))
    return run.stages


def taught_by(
    distil: Distil, teacher: keras.Model
) -> Callable[[keras.Model], Distiller]:
    """Return the function of a student to the Distiller with this teacher."""
    return lambda student: distil(teacher, student)


def check_build(name: str, build: Any) -> None:
    """Raise where a value is no function."""
    if not callable(build):
        raise ValueError(
            f"`{name}` must be a function that returns a new model. "
            f"Received: {name}={build!r}"
        )


def check_builds(name: str, builds: Any, least: int) -> None:
    """Raise where a value is no list of at least `least` functions."""
    is_list = isinstance(builds, (list, tuple)) and len(builds) >= least
    if not is_list or not all(callable(build) for build in builds):
        raise ValueError(
            f"`{name}` must be a list of at least {least} functions that return a new "
            f"model. Received: {name}={builds!r}"
        )
