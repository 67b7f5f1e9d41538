"""Recipes whose stages teach one another in a row."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_kd.distiller import Distiller
from keras_kd.losses.logits.logits_distillation import LogitsDistillation
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
    settings = {"generations": generations, "taught": teacher is not None}
    run = Run(directory, "born_again", settings, verbose=verbose)
    for number in range(0 if teacher is None else 1, generations + 1):
        make = None if teacher is None else taught_by(distil, teacher)
        stage = run.stage(f"generation_{number}", build, training, make)
        teacher = stage.student
    return run.stages


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
    settings = {"steps": len(builds), "taught": teacher is not None}
    run = Run(directory, "assistant_chain", settings, verbose=verbose)
    for number, build in enumerate(builds):
        make = None if teacher is None else taught_by(distil, teacher)
        stage = run.stage(f"assistant_{number}", build, training, make)
        teacher = stage.student
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
    run = Run(directory, "ensemble", {"members": len(builds)}, verbose=verbose)
    for number, build in enumerate(builds):
        run.stage(f"member_{number}", build, training)
    return _distilled_ensemble(run, build_student, training, combine, distil)


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
    run = Run(directory, "snapshots", {"cycles": cycles}, verbose=verbose)

    def go_on() -> keras.Model:
        model = build()
        if run.stages:
            model.set_weights(run.stages[-1].student.get_weights())
        return model

    for number in range(cycles):
        run.stage(f"snapshot_{number}", go_on, training)
    return _distilled_ensemble(run, build_student or build, training, combine, distil)


def _distilled_ensemble(
    run: Run,
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
