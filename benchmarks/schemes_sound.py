"""Training schemes across sound and text: spoken prompts and their files' names."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.methods import BATCH, accuracy
from benchmarks.prompts import GROUPS, Prompts, letters, prompts
from benchmarks.schemes_setup import Scheme, Setup

LABELLED, LEARN, EPOCHS = 100, 300, 40
UNKNOWN = -1


@cache
def _prompts() -> Prompts:
    return prompts()


@cache
def _split() -> list[np.ndarray]:
    """Return the prompts with a label, those without one, and those to test."""
    order = np.random.default_rng(0).permutation(len(_prompts().groups))
    return np.split(order, [LABELLED, LEARN])


@cache
def _texts() -> np.ndarray:
    labelled, unlabelled, _ = _split()
    return letters(_prompts().words, [*labelled, *unlabelled])


def _listener() -> keras.Model:
    """Return a classifier of sounds."""
    layers = keras.layers
    inputs = keras.Input(_prompts().sounds.shape[1:])
    x = layers.SpatialDropout1D(0.2)(inputs)
    for width in (32, 64):
        x = layers.Conv1D(width, 5, 2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling1D(name="embedding")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(len(GROUPS), name="logits")(x))


def _reader() -> keras.Model:
    """Return a classifier of label texts."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(_texts().shape[1:]),
            layers.Dropout(0.3),
            layers.Dense(128, "relu", name="embedding"),
            layers.Dropout(0.5),
            layers.Dense(len(GROUPS), name="logits"),
        ]
    )


def _train(model: keras.Model, x: Any, y: np.ndarray, seed: int) -> None:
    """Fit for as many steps as `EPOCHS` over all prompts to learn from."""
    epochs = round(EPOCHS * LEARN / len(y))
    schedule = keras.optimizers.schedules.CosineDecay(
        5e-3, epochs * math.ceil(len(y) / BATCH)
    )
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=UNKNOWN
        ),
    )
    keras.utils.set_random_seed(seed)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)


def _alone(model: keras.Model, x: np.ndarray, seed: int) -> float:
    """Train a model on the prompts with a label, and test it."""
    labelled, _, test = _split()
    groups = _prompts().groups
    _train(model, x[labelled], groups[labelled], seed)
    return accuracy(model, (x[test], groups[test]))


def _taught(
    teacher: keras.Model,
    of_teacher: np.ndarray,
    student: keras.Model,
    of_student: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Train the teacher on the labels, then the student on all prompts with it."""
    teacher_alone = _alone(teacher, of_teacher, seed)
    labelled, unlabelled, test = _split()
    rows = np.concatenate([labelled, unlabelled])
    groups = _prompts().groups
    y = np.where(np.isin(rows, labelled), groups[rows], UNKNOWN)
    model = keras_kd.Distiller(
        teacher,
        student,
        # Of temperature 1: the teacher's answers stand where labels are missing.
        keras_kd.LogitsDistillation(1.0),
        student_loss_weight=0.5,
        teacher_inputs=lambda x: x["teacher"],
        student_inputs=lambda x: x["student"] if isinstance(x, dict) else x,
    )
    inputs = {"teacher": of_teacher[rows], "student": of_student[rows]}
    _train(model, inputs, y.astype("int32"), seed)
    found = accuracy(student, (of_student[test], groups[test]))
    return {"test": found, "its teacher": teacher_alone}


def sounds_alone(setup: Setup, seed: int, folder: Path) -> float:
    """A student that hears, labels alone."""
    return _alone(_listener(), _prompts().sounds, seed)


def sounds_by_words(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """A student that hears, taught by a reader of what the prompts are called."""
    return _taught(_reader(), _texts(), _listener(), _prompts().sounds, seed)


def words_of_sounds_alone(setup: Setup, seed: int, folder: Path) -> float:
    """A reader of what the prompts are called, labels alone."""
    return _alone(_reader(), _texts(), seed)


def words_by_sounds(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """A reader, taught by a listener."""
    return _taught(_listener(), _prompts().sounds, _reader(), _texts(), seed)


SCHEMES = (
    Scheme("sounds_alone", "across", 1, sounds_alone, reference=True),
    Scheme(
        "sounds_by_words", "across", 1, sounds_by_words, "sounds_alone", None,
        note="modalities: spoken prompts of five groups, 100 with a label and 200 "
        "without; the student hears two seconds, the teacher reads the letters of the "
        "file's name without the front that says the group; both know the same 100 "
        "labels, alone learns from these for as many steps; tried when the same with "
        "all 300 labelled, at temperature 4, had failed",
    ),
    Scheme("words_of_sounds_alone", "across", 1, words_of_sounds_alone, reference=True),
    Scheme(
        "words_by_sounds", "across", 1, words_by_sounds, "words_of_sounds_alone", None,
        note="modalities, the other way round: a teacher that knows less than the "
        "student alone",
    ),
)  # fmt: skip
