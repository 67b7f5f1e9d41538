"""A student that learns from private data by noisy votes alone."""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_kd.data.labels import labels_like
from keras_kd.recipes.chains import Build, check_build
from keras_kd.recipes.public import logits_of_one, rows_of
from keras_kd.recipes.rehearsal import Rehearsal
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training, check_count
from keras_kd.recipes.votes import check_noise
from keras_kd.recipes.voting import Voting


@dataclass
class PrivateStudent(Stage):
    """A student that may be published, and what it gives away.

    Attributes:
        epsilon: The ε of (ε, δ)-differential privacy towards one private example.
        delta: The δ.
        answered: Which rows of the public data were answered, booleans.
        labels: The noisy labels of those.
    """

    epsilon: float
    delta: float
    answered: np.ndarray
    labels: np.ndarray


def pate(
    build_teacher: Build,
    build_student: Build,
    public: Any,
    training: Training,
    *,
    classes: int,
    directory: Any,
    scale: float,
    delta: float,
    num_teachers: int = 10,
    noise: str = "gaussian",
    threshold: float | None = None,
    threshold_scale: float | None = None,
    student_training: Training | None = None,
    verbose: int = 1,
) -> PrivateStudent:
    """Private aggregation of teacher ensembles: PATE.

    The private examples are divided among the teachers, each in one part only. The
    teachers vote on the public examples, noise is added to the votes, and the student
    learns their labels: it sees public inputs and noisy labels, and nothing else. Only
    the student may leave the directory, which also holds the teachers.

    The ε holds for data sets that differ in the content of one private example; their
    number is no secret. It does not cover what `compile` and `callbacks` may know of
    the private data. The noise is drawn once, from a generator that nobody can repeat,
    and kept: to ask again costs its ε once more.

    Args:
        build_teacher: Returns a new, built model with logits of all classes.
        build_student: Returns a new, built student.
        public: Unlabelled inputs that may be known to all, arrays.
        training: How each teacher trains; its x and y are the private data, arrays. No
            `validation_data`, `class_weight` or `sample_weight`: one example there
            would move the votes of all.
        classes: Number of classes.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        scale: Size of the noise on the votes, above 0; see `noisy_labels`.
        delta: The number δ; below 1 / the number of private examples.
        num_teachers: Number of teachers, at least 2. Defaults to 10.
        noise: "gaussian" or "laplace". Defaults to "gaussian".
        threshold: Votes that a class must have for a label, or None to label all.
        threshold_scale: Size of the noise of this check; with `threshold`.
        student_training: How the student trains; its x and y are the answered public
            ones, and its `validation_data` must be public; without weights, too.
            Defaults to `training`.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The student with its ε.

    Raises:
        ImportError: dp-accounting is not installed.
        ValueError: An argument is none of these, or no query was answered.

    Example:
    ```python
    result = keras_kd.recipes.pate(
        build,
        build,
        x_public,
        training,
        classes=10,
        directory="runs/pate",
        num_teachers=50,
        scale=10.0,
        delta=1e-5,
    )
    student, epsilon = result.student, result.epsilon
    ```

    References: Papernot et al., 2017, arXiv:1610.05755, and 2018, arXiv:1802.08908.
    Their ε depends on the votes and is smaller, but has to be kept secret itself; here
    it is the bound for any votes.
    """
    check_count("classes", classes, 2)
    check_noise(noise, scale, threshold, threshold_scale)
    rows = _private_rows(training, student_training)
    _check_teachers(num_teachers, rows, threshold, threshold_scale)
    queries = len(keras.tree.flatten(public)[0])
    voting = Voting(classes, noise, scale, threshold, threshold_scale, delta, queries)
    voting.epsilon(0)  # which raises where the accountant is not there
    _check_delta(delta, rows)
    _check_model("build_teacher", build_teacher, public, classes)
    _check_model("build_student", build_student, public, classes)
    parts = np.array_split(
        np.random.default_rng(training.seed).permutation(rows), num_teachers
    )

    def recipe(run: Run | Rehearsal) -> PrivateStudent:
        # All teachers are alike: one shows what does not fit.
        teachers = [
            run.stage(f"teacher_{number}", build_teacher, _part_of(training, part))
            for number, part in enumerate(parts[:1] if run.is_rehearsal else parts)
        ]
        votes = voting.labels(run, teachers, public)
        return _train_student(
            run, build_student, public, training, student_training, voting, votes
        )

    settings = {"num_teachers": num_teachers}
    return Run(directory, "pate", settings, verbose=verbose).carry_out(recipe)


def _train_student(
    run: Run | Rehearsal,
    build_student: Build,
    public: Any,
    training: Training,
    student_training: Training | None,
    voting: Voting,
    votes: dict[str, np.ndarray],
) -> PrivateStudent:
    """Train the student on public inputs and noisy labels, and on nothing else."""
    answered, labels = votes["answered"], votes["labels"]
    given = replace(
        student_training or training,
        x=rows_of(public, answered),
        y=labels_like(training.y, labels, voting.classes),
    )
    stage = run.stage("student", build_student, given)
    return PrivateStudent(
        stage.name,
        stage.student,
        stage.history,
        voting.epsilon(int(answered.sum())),
        voting.delta,
        answered,
        labels,
    )


def _private_rows(training: Training, student_training: Training | None) -> int:
    """Return the number of private examples, and raise on what all teachers would see.

    Raises:
        ValueError: If there are no arrays of examples with labels, or a training holds
            what follows from the labels of other teachers' examples.
    """
    _check_private("training", training, "validation_data")
    if student_training is not None:
        _check_private("student_training", student_training)
    if callable(training.x) or training.y is None:
        raise ValueError(
            "`training` must hold arrays x and y, which are divided among the "
            f"teachers. Received: x of type {type(training.x).__name__}, y of type "
            f"{type(training.y).__name__}."
        )
    return len(keras.tree.flatten(training.x)[0])


def _check_private(argument: str, training: Training, *more: str) -> None:
    """Raise where weights or data were computed from all private labels at once."""
    for name in ("class_weight", "sample_weight", *more):
        value = getattr(training, name)
        if value is not None:
            raise ValueError(
                f"`{argument}.{name}` must be None: computed from private labels, it "
                "lets one example move the votes of all teachers, and the ε that is "
                "reported would be false. Received: "
                f"{name} of type {type(value).__name__}. Weigh the classes in a loss "
                "given to `compile`, by numbers that are public."
            )


def _check_teachers(
    num_teachers: Any, rows: int, threshold: Any, threshold_scale: Any
) -> None:
    check_count("num_teachers", num_teachers, 2)
    if rows < num_teachers:
        raise ValueError(
            "`num_teachers` must be no larger than the number of private examples. "
            f"Received: num_teachers={num_teachers}, for {rows} examples."
        )
    if threshold is None and threshold_scale is not None:
        raise ValueError(
            "`threshold_scale` must be given together with `threshold`. Received: "
            f"threshold_scale={threshold_scale!r} alone."
        )
    if threshold is not None and threshold > num_teachers:
        raise ValueError(
            "`threshold` must be a number of votes, at most `num_teachers`. "
            f"Received: threshold={threshold}, with {num_teachers} teachers."
        )


def _check_delta(delta: float, rows: int) -> None:
    if delta >= 1 / rows:
        raise ValueError(
            "`delta` must be below 1 / the number of private examples: with that "
            "probability all may be given away. "
            f"Received: delta={delta}, for {rows} examples."
        )


def _check_model(argument: str, build: Any, public: Any, classes: int) -> None:
    check_build(argument, build)
    logits = logits_of_one(build, public, argument, "public")
    if logits != classes:
        raise ValueError(
            f"`{argument}` must return a model with one logit for each of `classes`. "
            f"Received: classes={classes}, and a model with {logits} logits."
        )


def _part_of(training: Training, rows: np.ndarray) -> Training:
    """Return the training of one teacher, on some of the private examples."""
    return replace(
        training,
        x=rows_of(training.x, rows),
        y=rows_of(training.y, rows),
    )
