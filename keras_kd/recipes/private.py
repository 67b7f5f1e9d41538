"""A student that learns from private data by noisy votes alone."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_kd.recipes.chains import Build, check_build
from keras_kd.recipes.public import answers_of, labels_like, rows_of
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import (
    Stage,
    Training,
    check_count,
    check_own_data,
    digest,
)
from keras_kd.recipes.votes import (
    check_noise,
    count_votes,
    noisy_labels,
    privacy_spent,
)


@dataclass
class PrivateStudent(Stage):
    """A student that may be published, and what it gives away.

    Attributes:
        epsilon: The ε of (ε, δ)-differential privacy towards one private example.
        delta: The δ.
        answered: Which rows of the public data were answered, booleans.
        labels: The noisy answers to those.
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
    learns the answers: it sees public inputs and noisy labels, and nothing else. Only
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
            `validation_data`: one example there would move the votes of all.
        classes: Number of classes.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        scale: Size of the noise on the votes, above 0; see `noisy_labels`.
        delta: The number δ; below 1 / the number of private examples.
        num_teachers: Number of teachers, at least 2. Defaults to 10.
        noise: "gaussian" or "laplace". Defaults to "gaussian".
        threshold: Votes that a class must have for an answer, or None to answer all.
        threshold_scale: Size of the noise of this check; with `threshold`.
        student_training: How the student trains; its x and y are the answered public
            ones, and its `validation_data` must be public. Defaults to `training`.
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
    rows = _private_rows(training)
    _check_teachers(num_teachers, rows, threshold, threshold_scale)
    spent = partial(
        privacy_spent,
        noise=noise,
        scale=scale,
        delta=delta,
        queries=None if threshold is None else len(keras.tree.flatten(public)[0]),
        threshold_scale=threshold_scale,
    )
    # Before the first hour of training: is the accountant there, are the numbers?
    spent(0)
    _check_delta(delta, rows)
    for argument, build in (
        ("build_teacher", build_teacher),
        ("build_student", build_student),
    ):
        _check_model(argument, build, public, classes)
    run = Run(directory, "pate", {"num_teachers": num_teachers}, verbose=verbose)
    order = np.random.default_rng(training.seed).permutation(rows)
    teachers = [
        run.stage(f"teacher_{number}", build_teacher, _part_of(training, part)).student
        for number, part in enumerate(np.array_split(order, num_teachers))
    ]

    def vote() -> dict[str, np.ndarray]:
        if run.path("student").exists():
            raise ValueError(
                "`directory` must hold the votes that its student has learned from. "
                "Received: a student without votes. To draw them anew, which costs "
                "their ε once more, delete the folder 'student' too."
            )
        said = [t.predict(public, verbose=0).argmax(axis=-1) for t in teachers]
        answered, labels = noisy_labels(
            count_votes(said, classes),
            noise=noise,
            scale=scale,
            threshold=threshold,
            threshold_scale=threshold_scale,
        )
        return {"answered": answered, "labels": labels}

    # Kept: to draw again after an interruption would spend the privacy twice.
    asked = {
        "noise": [noise, scale, threshold, threshold_scale],
        "public": digest(public),
    }
    votes = run.value("votes", vote, asked)
    answered, labels = votes["answered"], votes["labels"]
    if not answered.any():
        raise ValueError(
            "`threshold` must be low enough for some vote to reach it. Received: "
            f"threshold={threshold}, with {num_teachers} teachers; no query answered, "
            f"at an ε of {spent(0):.3g}. To ask again, at its own ε on top, delete the "
            "folder 'votes'."
        )
    given = replace(
        student_training or training,
        x=rows_of(public, answered),
        y=labels_like(training.y, labels, classes),
        sample_weight=None,
    )
    stage = run.stage("student", build_student, given)
    return PrivateStudent(
        stage.name,
        stage.student,
        stage.history,
        spent(int(answered.sum())),
        delta,
        answered,
        labels,
    )


def _private_rows(training: Training) -> int:
    """Return the number of private examples, and raise on what all teachers would see.

    Raises:
        ValueError: There are no arrays of examples with labels, or a teacher's training
            sees others than its own.
    """
    check_own_data(training, "validation_data")
    if callable(training.x) or training.y is None:
        raise ValueError(
            "`training` must hold arrays x and y, which are divided among the "
            f"teachers. Received: x of type {type(training.x).__name__}, y of type "
            f"{type(training.y).__name__}."
        )
    return len(keras.tree.flatten(training.x)[0])


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
    _, logits = answers_of(build, public, argument)
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
        sample_weight=rows_of(training.sample_weight, rows),
    )
