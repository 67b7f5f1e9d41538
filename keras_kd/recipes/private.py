"""A student that learns from private data by noisy votes alone."""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_kd.recipes.chains import Build, check_count
from keras_kd.recipes.run import Run
from keras_kd.recipes.training import Stage, Training
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

    The noise is drawn once, from a generator that nobody can repeat, and kept: to ask
    again, in a new directory, costs its ε once more.

    Args:
        build_teacher: Returns a new, built model with logits of all classes.
        build_student: Returns a new, built student.
        public: Unlabelled inputs that may be known to all, arrays.
        training: How each teacher trains; its x and y are the private data, arrays.
        classes: Number of classes.
        directory: Where the run is kept, see `keras_kd.recipes.Run`.
        scale: Size of the noise on the votes, above 0; see `noisy_labels`. Published:
            40 to 100 for 250 teachers.
        delta: The number δ; below 1 / the number of private examples.
        num_teachers: Number of teachers, at least 2. Defaults to 10.
        noise: "gaussian" or "laplace". Defaults to "gaussian".
        threshold: Votes that a class must have for an answer, or None to answer all.
        threshold_scale: Size of the noise of this check; with `threshold`.
        student_training: How the student trains; its data are those above. Defaults to
            `training` without its validation data.
        verbose: 0, 1 or 2, see `Run`.

    Returns:
        The student with its ε.

    Raises:
        ImportError: dp-accounting is not installed.
        ValueError: An argument is none of these, or no query was answered.

    Example:
    ```python
    student = keras_kd.recipes.pate(
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
    print(student.epsilon)
    ```

    References: Papernot et al., 2017, arXiv:1610.05755, and 2018, arXiv:1802.08908.
    Their ε depends on the votes and is smaller, but has to be kept secret itself; here
    it is the bound for any votes.
    """
    check_count("num_teachers", num_teachers, 2)
    check_count("classes", classes, 2)
    check_noise(noise, scale, threshold, threshold_scale)
    # Before the first hour of training: is the accountant there, are the numbers?
    privacy_spent(0, noise=noise, scale=scale, delta=delta)
    rows = len(keras.tree.flatten(training.x)[0])
    if rows < num_teachers:
        raise ValueError(
            "`num_teachers` must be no larger than the number of private examples. "
            f"Received: num_teachers={num_teachers}, for {rows} examples."
        )
    settings = {
        "num_teachers": num_teachers,
        "noise": [noise, scale, threshold, threshold_scale],
        "public": len(keras.tree.flatten(public)[0]),
    }
    run = Run(directory, "pate", settings, verbose=verbose)
    order = np.random.default_rng(training.seed).permutation(rows)
    answers = []
    for number, part in enumerate(np.array_split(order, num_teachers)):
        own = replace(
            training,
            x=_rows(training.x, part),
            y=_rows(training.y, part),
            sample_weight=_rows(training.sample_weight, part),
        )
        teacher = run.stage(f"teacher_{number}", build_teacher, own).student
        answers.append(teacher.predict(public, verbose=0).argmax(axis=-1))

    def vote() -> dict[str, np.ndarray]:
        answered, labels = noisy_labels(
            count_votes(answers, classes),
            noise=noise,
            scale=scale,
            threshold=threshold,
            threshold_scale=threshold_scale,
        )
        return {"answered": answered, "labels": labels}

    # Kept: to draw again after an interruption would spend the privacy twice.
    votes = run.value("votes", vote)
    answered, labels = votes["answered"], votes["labels"]
    if not answered.any():
        raise ValueError(
            "`threshold` must be low enough for some vote to reach it. Received: "
            f"threshold={threshold}, with {num_teachers} teachers; no query answered."
        )
    given = student_training or replace(training, validation_data=None)
    given = replace(
        given, x=_rows(public, answered), y=labels.astype("int32"), sample_weight=None
    )
    stage = run.stage("student", build_student, given)
    checks = {} if threshold is None else {"queries": len(answered)}
    epsilon = privacy_spent(
        int(answered.sum()),
        noise=noise,
        scale=scale,
        delta=delta,
        threshold_scale=None if threshold is None else threshold_scale,
        **checks,
    )
    return PrivateStudent(
        stage.name, stage.student, stage.history, epsilon, delta, answered, labels
    )


def _rows(arrays: Any, rows: np.ndarray) -> Any:
    """Return some rows of each array of a structure."""
    return keras.tree.map_structure(
        lambda array: None if array is None else np.asarray(array)[rows], arrays
    )
