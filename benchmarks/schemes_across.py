"""Training schemes across modalities, tasks, domains: emoji, names, two vendors."""

import functools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.emoji import emoji, emoji_entries
from benchmarks.methods import STUDENT_WIDTHS, TEACHER_WIDTHS, convnet, train
from benchmarks.schemes_setup import Scheme, Setup, image
from benchmarks.tasks import TASKS

WORDS = 600


@cache
def emoji_task() -> Any:
    return TASKS["emoji"]()


@cache
def split() -> list[np.ndarray]:
    """Return the rows to learn from, to choose on and to test, as in the task."""
    _, y = emoji()
    return np.split(np.random.default_rng(0).permutation(len(y)), [1_000, 1_200])


@cache
def words() -> np.ndarray:
    """Return which of the most frequent words each emoji's name has."""
    names = [
        entry["name"].lower().replace("-", " ").split() for entry in emoji_entries()
    ]
    learn, _, _ = split()
    seen, counts = np.unique(
        [word for row in learn for word in set(names[row])], return_counts=True
    )
    known = list(seen[np.argsort(-counts, kind="stable")][:WORDS])
    table = np.zeros((len(names), len(known)), "float32")
    for row, name in enumerate(names):
        for word in name:
            if word in known:
                table[row, known.index(word)] = 1.0
    return table


@cache
def subgroups() -> np.ndarray:
    """Return the subgroup of each emoji: finer classes than the groups."""
    kinds = [entry["subcategory"] for entry in emoji_entries()]
    return np.unique(kinds, return_inverse=True)[1].astype("int32")


def _reader(units: int = 10) -> keras.Model:
    """Return a classifier of names."""
    return keras.Sequential(
        [
            keras.Input((words().shape[1],)),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(units, name="logits"),
        ]
    )


def of_vendor(vendor: str, rows: np.ndarray) -> np.ndarray:
    return emoji()[0][vendor][rows]


def accuracy(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    return float(100 * (model.predict(x, 500, verbose=0).argmax(-1) == y).mean())


def on_test(student: keras.Model, vendor: str = "google") -> float:
    *_, rows = split()
    return accuracy(student, of_vendor(vendor, rows), emoji()[1][rows])


def picture_student() -> keras.Model:
    return convnet(STUDENT_WIDTHS, emoji_task(), "student")


def pictures_alone(setup: Setup, seed: int, folder: Path) -> float:
    """A student of Google's pictures, labels alone."""
    student = picture_student()
    train(student, *emoji_task().student, emoji_task().epochs, seed)
    return on_test(student)


def taught_by_pictures(setup: Setup, seed: int, folder: Path) -> float:
    """The same, taught by a larger network that saw the same pictures."""
    teacher = convnet(TEACHER_WIDTHS, emoji_task(), "teacher")
    train(teacher, *emoji_task().student, emoji_task().epochs, seed)
    student = picture_student()
    model = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(4.0), [0.9], 0.1,
        distillation_weight=1.0,
    )  # fmt: skip
    train(model, *emoji_task().student, emoji_task().epochs, seed)
    return on_test(student)


def taught_by_words(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """A student of pictures, taught by a reader of the names of the same emoji."""
    learn, _, test = split()
    labels = emoji()[1]
    teacher = _reader()
    train(teacher, words()[learn], labels[learn], 20, seed)
    student = picture_student()
    model = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(4.0), [0.9], 0.1,
        distillation_weight=1.0,
        teacher_inputs=lambda x: x["words"],
        student_inputs=image,
    )  # fmt: skip
    inputs = {"image": of_vendor("google", learn), "words": words()[learn]}
    train(model, inputs, labels[learn], emoji_task().epochs, seed)
    return {
        "test": on_test(student),
        "its teacher": accuracy(teacher, words()[test], labels[test]),
    }


def readers_alone(setup: Setup, seed: int, folder: Path) -> float:
    """A reader of names, labels alone."""
    learn, _, test = split()
    labels = emoji()[1]
    student = _reader()
    train(student, words()[learn], labels[learn], emoji_task().epochs, seed)
    return accuracy(student, words()[test], labels[test])


def words_by_pictures(setup: Setup, seed: int, folder: Path) -> float:
    """A reader of names, taught by a network that sees the pictures."""
    learn, _, test = split()
    labels = emoji()[1]
    teacher, student = convnet(TEACHER_WIDTHS, emoji_task(), "teacher"), _reader()
    train(teacher, *emoji_task().student, emoji_task().epochs, seed)
    model = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(4.0), [0.9], 0.1,
        distillation_weight=1.0,
        teacher_inputs=image,
        student_inputs=lambda x: x["words"] if isinstance(x, dict) else x,
    )  # fmt: skip
    inputs = {"image": of_vendor("google", learn), "words": words()[learn]}
    train(model, inputs, labels[learn], emoji_task().epochs, seed)
    return accuracy(student, words()[test], labels[test])


def other_vendor(setup: Setup, seed: int, folder: Path) -> float:
    """The student of Google's pictures, tested on Twitter's."""
    student = picture_student()
    train(student, *emoji_task().student, emoji_task().epochs, seed)
    return on_test(student, "twitter")


def unlabelled_vendor(setup: Setup, seed: int, folder: Path) -> float:
    """A student of Twitter's pictures without a label, taught on Google's of the same.

    The teacher is a student of Google's pictures: it knows no more than `other_vendor`.
    """
    teacher = picture_student()
    train(teacher, *emoji_task().student, emoji_task().epochs, seed)
    rows, *_ = split()
    student = picture_student()
    model = keras_kd.Distiller(
        teacher,
        student,
        keras_kd.LogitsDistillation(2.0),
        student_loss_weight=0.0,
        teacher_inputs=lambda x: x["google"],
        student_inputs=lambda x: x["twitter"] if isinstance(x, dict) else x,
    )
    inputs = {vendor: of_vendor(vendor, rows) for vendor in ("google", "twitter")}
    # The labels have weight 0; Keras's loss wants some to be there.
    train(model, inputs, np.zeros(len(rows), "int32"), emoji_task().epochs, seed)
    return on_test(student, "twitter")


def teacher_of_subgroups(seed: int) -> keras.Model:
    """Return a model that knows the 99 subgroups of the pictures to learn from."""
    learn, *_ = split()
    body = convnet(TEACHER_WIDTHS, emoji_task(), "body")
    head = keras.layers.Dense(int(subgroups().max()) + 1, name="subgroups")
    teacher = keras.Model(body.input, head(body.get_layer("embedding").output))
    x = of_vendor("google", learn)
    train(teacher, x, subgroups()[learn], emoji_task().epochs, seed)
    return teacher


def other_task(loss: Callable[..., Any]) -> Any:
    """Return a student of ten groups, with what a teacher of 99 subgroups embeds.

    Args:
        loss: Makes the loss from the names of the two embeddings.
    """

    def run(setup: Setup, seed: int, folder: Path) -> float:
        teacher = teacher_of_subgroups(seed)
        student = picture_student()
        model = keras_kd.Distiller(
            teacher,
            student,
            loss("embedding", "embedding"),
            [1.0],
            1.0,
            distillation_weight=1.0,
        )
        train(model, *emoji_task().student, emoji_task().epochs, seed)
        return on_test(student)

    return run


SCHEMES = (
    Scheme("pictures_alone", "across", 1, pictures_alone, reference=True),
    Scheme("kd_by_pictures", "across", 1, taught_by_pictures, reference=True),
    Scheme(
        "pictures_by_words", "across", 1, taught_by_words, "pictures_alone",
        "kd_by_pictures",
        note="modalities: a student of pictures, a teacher of the emoji's names; all "
        "saw the same 1,000 emoji",
    ),
    Scheme("words_alone", "across", 1, readers_alone, reference=True),
    Scheme(
        "words_by_pictures", "across", 1, words_by_pictures, "words_alone", None,
        note="modalities, the other way round",
    ),
    Scheme("vendor_unseen", "across", 1, other_vendor, reference=True),
    Scheme(
        "vendor_unlabelled", "across", 2, unlabelled_vendor, "vendor_unseen", None,
        note="domains: Twitter's pictures without labels, the teacher sees Google's of "
        "the same emoji; alone is that teacher itself",
    ),
    Scheme(
        "features_of_subgroups", "across", 1,
        other_task(functools.partial(keras_kd.FeatureDistillation, "mse")),
        "pictures_alone", "kd_by_pictures",
        note="tasks: the teacher knows 99 subgroups, no group",
    ),
)  # fmt: skip
