"""Training schemes in which a student learns from itself."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.methods import BATCH, train
from benchmarks.schemes_setup import CROSSENTROPY, Scheme, Setup, image, kd
from keras_kd import losses, recipes, teachers
from keras_kd.data import (
    OverlappingBatches,
    SameClassBatches,
    ShuffledBatches,
    Views,
    without_sample_ids,
)


def born_again(temperature: float, task_weight: float) -> Any:
    """Return generation 1, beside generation 0."""

    def distil(teacher: keras.Model, student: keras.Model) -> keras_kd.Distiller:
        return keras_kd.Distiller(
            teacher,
            student,
            keras_kd.LogitsDistillation(temperature),
            student_loss_weight=task_weight,
        )

    def run(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
        stages = recipes.born_again(
            setup.student,
            setup.training(seed=seed),
            directory=folder,
            generations=1,
            distil=distil,
            verbose=0,
        )
        first, second = (setup.test(stage.student) for stage in stages)
        return {"test": second, "generation 0": first}

    return run


def own(make_loss: Any, weight: float = 1.0) -> Any:
    """Return a student that learns from itself, by a loss without a teacher."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        model = keras_kd.Distiller(
            None, student, make_loss(), [weight], 1.0, distillation_weight=1.0
        )
        train(model, setup.x, setup.y, setup.epochs, seed)
        return setup.test(student)

    return run


def batched(make_data: Any, make_loss: Any, weight: float, epochs: float = 1.0) -> Any:
    """Return a student that learns from itself on batches of a special kind."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        count = round(epochs * setup.epochs)
        batches = make_data(setup.x, setup.y, seed)
        model: Any = student
        if make_loss is not None:
            model = keras_kd.Distiller(
                None,
                student,
                make_loss(),
                [weight],
                1.0,
                distillation_weight=1.0,
                student_inputs=without_sample_ids,
            )
        steps = count * len(batches)
        schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
        model.compile(keras.optimizers.Adam(schedule), CROSSENTROPY)
        keras.utils.set_random_seed(seed)
        model.fit(batches, epochs=count, shuffle=False, verbose=0)
        return setup.test(student)

    return run


def shifted(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the images shifted by up to two pixels, half of them mirrored."""
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    size = x.shape[1]
    made = np.empty_like(x)
    for place, picture in enumerate(padded):
        top, left = random.integers(0, 5, 2)
        piece = picture[top : top + size, left : left + size]
        made[place] = piece[:, ::-1] if random.random() < 0.5 else piece
    return made


def moving_average(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """The mean teacher; the averaged model is what is used in the end."""
    student = setup.student()
    teacher = teachers.MovingAverage(student, 0.99)
    model = keras_kd.Distiller(
        teacher, student, keras_kd.LogitsDistillation(1.0), [1.0], 1.0,
        distillation_weight=1.0,
    )  # fmt: skip
    train(model, setup.x, setup.y, setup.epochs, seed)
    return {"test": setup.test(teacher.model), "student": setup.test(student)}


def earlier_self(setup: Setup, seed: int, folder: Path) -> float:
    """PS-KD: the student's last epoch teaches, ever more of the target."""
    student = setup.student()
    steps = setup.epochs * -(-len(setup.y) // BATCH)
    model = keras_kd.Distiller(
        teachers.EarlierSelf(student),
        student,
        keras_kd.LogitsDistillation(1.0, "categorical_crossentropy"),
        student_loss_weight=keras.optimizers.schedules.PolynomialDecay(1.0, steps, 0.2),
    )
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), CROSSENTROPY)
    keras.utils.set_random_seed(seed)
    model.fit(
        setup.x,
        setup.y,
        batch_size=BATCH,
        epochs=setup.epochs,
        verbose=0,
    )
    return setup.test(student)


def snapshots(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """Three cycles of one model, and a student by their ensemble."""
    stages = recipes.snapshots(
        setup.student, setup.training(seed=seed), directory=folder, verbose=0
    )
    return {
        "test": setup.test(stages[-1].student),
        "last snapshot": setup.test(stages[-2].student),
    }


def augmented(consistent: bool) -> Any:
    """Return plain distillation of augmented images, which the teacher sees or not."""

    def both(x: dict[str, np.ndarray], random: np.random.Generator) -> Any:
        view = shifted(x["image"], random)
        return {
            "image": view,
            "seen": view if consistent else shifted(x["image"], random),
        }

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        model = kd(
            setup.teacher,
            student,
            teacher_inputs=lambda x: x["seen"],
            student_inputs=image,
        )
        batches = ShuffledBatches(
            {"image": setup.x}, setup.y, BATCH, seed=seed, augment=both
        )
        setup.compile(setup.epochs)(model)
        keras.utils.set_random_seed(seed)
        model.fit(batches, epochs=setup.epochs, shuffle=False, verbose=0)
        return setup.test(student)

    return run


def _views(x: Any, y: Any, seed: int) -> Any:
    return Views(x, y, BATCH, shifted, seed=seed)


SCHEMES = (
    Scheme(
        "born_again", "oneself", 2, born_again(1.0, 0.5), "alone_x2", "kd_x2",
        note="as published: temperature 1, half of it labels; for all three the first "
        "generation is half of the cost",
    ),
    Scheme(
        "born_again_soft", "oneself", 2, born_again(4.0, 0.1), "alone_x2", "kd_x2",
        note="temperature 4, a tenth of it labels; tried when the row above had failed",
    ),
    Scheme(
        "born_again_unlabelled", "oneself", 2, born_again(4.0, 0.0), "alone_x2",
        "kd_x2", note="temperature 4, no labels for generation 1; likewise",
    ),
    Scheme(
        "own_exits", "oneself", 1,
        own(lambda: losses.ExitDistillation(["stage_0", "stage_1", "stage_2"])),
        note="BYOT",
    ),
    Scheme("moving_average", "oneself", 1, moving_average),
    Scheme("earlier_self", "oneself", 1, earlier_self, note="PS-KD"),
    Scheme(
        "last_batch", "oneself", 1,
        batched(
            lambda x, y, seed: OverlappingBatches(x, y, BATCH, seed=seed),
            lambda: losses.LastBatchDistillation(BATCH), 2.0, 0.5,
        ),
        note="DLB; ten epochs, whose batches show each image twice",
    ),
    Scheme(
        "same_class", "oneself", 1,
        batched(
            lambda x, y, seed: SameClassBatches(x, y, BATCH, seed=seed),
            losses.SameClassDistillation, 1.0,
        ),
        note="CS-KD",
    ),
    Scheme(
        "virtual_teacher", "oneself", 1,
        own(losses.VirtualTeacherDistillation, 0.1), note="Tf-KD, weight 0.1",
    ),
    Scheme(
        "snapshots", "oneself", 4, snapshots, "alone_x4", "kd_x4",
        note="three cycles and the student",
    ),
    Scheme(
        "alone_augmented", "reference", 1,
        batched(
            lambda x, y, seed: ShuffledBatches(
                x, y, BATCH, seed=seed, augment=shifted
            ),
            None, 0.0,
        ),
        reference=True,
    ),
    Scheme(
        "two_views", "oneself", 1,
        batched(_views, losses.ViewAgreementDistillation, 1.0, 0.5),
        alone="alone_augmented",
        note="ten epochs of two augmented views; alone is augmented too",
    ),
    *(
        Scheme(
            name, "oneself", 1, augmented(consistent), "alone_augmented", "kd",
            note=f"an augmented image, and a teacher that sees {seen}; alone is "
            "augmented too, plain KD is not",
        )
        for name, consistent, seen in (
            ("kd_of_the_same_view", True, "the same view"),
            ("kd_of_another_view", False, "another view of it"),
        )
    ),
)  # fmt: skip
