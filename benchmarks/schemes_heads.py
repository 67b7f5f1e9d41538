"""Training schemes of emoji with two questions: their groups and 99 subgroups."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.emoji import emoji
from benchmarks.methods import BATCH, STUDENT_WIDTHS, TEACHER_WIDTHS, convnet, train
from benchmarks.schemes_across import (
    emoji_task,
    of_vendor,
    other_task,
    split,
    subgroups,
    teacher_of_subgroups,
)
from benchmarks.schemes_setup import CROSSENTROPY, Scheme, Setup
from keras_kd import losses, teachers


def _labels(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"group": emoji()[1][rows], "subgroup": subgroups()[rows]}


def _two_heads() -> keras.Model:
    """Return a student that answers both questions, as a dict."""
    body = convnet(STUDENT_WIDTHS, emoji_task(), "body")
    embedding = body.get_layer("embedding").output
    heads = {
        name: keras.layers.Dense(int(labels.max()) + 1, name=name)(embedding)
        for name, labels in _labels(np.arange(len(subgroups()))).items()
    }
    return keras.Model(body.input, heads, name="student")


def _train_both(model: keras.Model, seed: int) -> None:
    """Fit on both labels, in all else as `benchmarks.methods.train`."""
    learn, *_ = split()
    epochs = emoji_task().epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        5e-3, epochs * math.ceil(len(learn) / BATCH)
    )
    model.compile(
        keras.optimizers.Adam(schedule),
        {"group": CROSSENTROPY, "subgroup": CROSSENTROPY},
    )
    keras.utils.set_random_seed(seed)
    model.fit(
        of_vendor("google", learn),
        _labels(learn),
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
    )


def _tested_on_both(student: Any) -> dict[str, float]:
    *_, test = split()
    answers = student.predict(of_vendor("google", test), 500, verbose=0)
    right = {
        name: 100 * float((answers[name].argmax(-1) == labels).mean())
        for name, labels in _labels(test).items()
    }
    return {"test": right["group"], "subgroups": right["subgroup"]}


def two_heads_alone(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """A student of both questions, labels alone."""
    student = _two_heads()
    _train_both(student, seed)
    return _tested_on_both(student)


def two_heads(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """The same, taught by two larger networks that each know one of the questions."""
    of_groups = convnet(TEACHER_WIDTHS, emoji_task(), "teacher")
    train(of_groups, *emoji_task().student, emoji_task().epochs, seed)
    teacher = teachers.Specialists(
        {"group": of_groups, "subgroup": teacher_of_subgroups(seed)}
    )
    student = _two_heads()
    model = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(4.0), [0.9], 0.1,
        distillation_weight=1.0,
    )  # fmt: skip
    _train_both(model, seed)
    both = {f"{n} of its teacher": v for n, v in _tested_on_both(teacher).items()}
    return {**_tested_on_both(student), **both}


SCHEMES = (
    Scheme("two_heads_alone", "ensembles", 1, two_heads_alone, reference=True),
    Scheme(
        "two_heads", "ensembles", 1, two_heads, "two_heads_alone", None,
        note="emoji: one teacher knows 10 groups, one 99 subgroups, both of the "
        "student's 1,000 pictures; the test is of the groups; alone has both heads too",
    ),
    Scheme(
        "relations_of_subgroups", "across", 1,
        other_task(losses.RelationalDistillation), "pictures_alone",
        "kd_by_pictures",
        note="tasks: RKD at its published weight; the teacher knows 99 subgroups, no "
        "group",
    ),
)  # fmt: skip
