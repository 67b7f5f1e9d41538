"""Training schemes with parts of the task: new classes, private data, no data."""

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.methods import convnet, train
from benchmarks.schemes_setup import CROSSENTROPY, Scheme, Setup
from keras_kd import losses, recipes, students

# Of the teacher's images, whose first 4,000 are the student's.
PUBLIC, ASKED, PRIVATE = slice(20_000, 24_000), slice(40_000, 41_000), slice(40_000)
CLIENTS = 4
NUM_TEACHERS, DELTA = 50, 1e-5
PART = 800


def continual(**changes: Any) -> Any:
    """Return five classes, then the five others; each tested among its five."""

    def run(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
        low = setup.y < 5
        tasks = [(setup.x[low], setup.y[low]), (setup.x[~low], setup.y[~low])]
        epochs = setup.epochs // 2
        stages = recipes.learn_without_forgetting(
            lambda classes: setup.named_student(3, classes, head="classes"),
            tasks,
            setup.training(epochs, seed=seed, y=setup.y[low]),
            directory=folder,
            verbose=0,
            **changes,
        )
        x, y = setup.task.test
        logits = stages[-1].student.predict(x, 1000, verbose=0)
        old = (y < 5)[:, None]
        # Among the classes of the image's own task, as the paper measures it.
        own = np.where((np.arange(10) < 5) == old, logits, -np.inf).argmax(-1) == y
        return {
            "test": 100 * float(own.mean()),
            "old among old": 100 * float(own[y < 5].mean()),
            "among all ten": 100 * float((logits.argmax(-1) == y).mean()),
        }

    return run


def public(setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """Return 4,000 images that everybody has, and labels that nobody has."""
    x, y = setup.task.teacher
    return x[PUBLIC], y[PUBLIC]


def pate(**noise: float) -> Any:
    """Return 50 teachers of 800 private images each, noisy votes on public ones."""

    def run(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
        x, y = setup.task.teacher
        unlabelled, truth = x[ASKED], y[ASKED]
        epochs = setup.epochs // 2
        trained = folder.parent / f"teachers_of_parts-{seed}"
        if trained.exists():
            # The same teachers under another noise; each row stands for itself.
            shutil.copytree(trained, folder, dirs_exist_ok=True)
        result = recipes.pate(
            setup.student,
            setup.student,
            unlabelled,
            setup.training(
                epochs,
                seed=seed,
                x=x[PRIVATE],
                y=y[PRIVATE],
                compile=setup.compile(epochs, PART),
            ),
            classes=10,
            directory=folder,
            num_teachers=NUM_TEACHERS,
            delta=DELTA,
            student_training=setup.training(
                seed=seed, compile=setup.compile(setup.epochs, len(truth))
            ),
            verbose=0,
            **noise,
        )
        if not trained.exists():
            shutil.copytree(
                folder, trained, ignore=shutil.ignore_patterns("votes", "student")
            )
        right = result.labels == truth[result.answered]
        return {
            "test": setup.test(result.student),
            "epsilon": result.epsilon,
            "answered": int(result.answered.sum()),
            "right votes": 100 * float(right.mean()),
        }

    return run


def one_part(setup: Setup, seed: int, folder: Path) -> float:
    """A student alone with what one of the teachers has: 800 private images."""
    x, y = setup.task.teacher
    student = setup.student()
    train(student, x[:PART], y[:PART], setup.epochs, seed)
    return setup.test(student)


def without_privacy(setup: Setup, seed: int, folder: Path) -> float:
    """Plain distillation of one teacher of all private images, on the public ones."""
    student = setup.student()
    x, y = (part[ASKED] for part in setup.task.teacher)
    model = keras_kd.Distiller(
        setup.private_teacher, student, keras_kd.LogitsDistillation(4.0), None, 0.0
    )
    train(model, x, y, setup.epochs, seed)
    return setup.test(student)


def _clients(setup: Setup) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return four clients with 1,000 images each, most of them of few classes."""
    random = np.random.default_rng(0)
    parts: list[list[int]] = [[] for _ in range(CLIENTS)]
    for label in range(10):
        shares = random.dirichlet(np.full(CLIENTS, 0.3))
        rows = np.flatnonzero(setup.y == label)
        ends = (np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, chosen in zip(parts, np.split(rows, ends), strict=True):
            part.extend(chosen)
    return [(setup.x[part], setup.y[part]) for part in parts]


def federated(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """Four clients of two architectures, five rounds."""
    slim = lambda: convnet((12, 24, 48), setup.task, "slim")  # noqa: E731
    unlabelled, _ = public(setup)
    stages = recipes.federated(
        [setup.student, slim] * (CLIENTS // 2),
        _clients(setup),
        unlabelled,
        setup.training(2, seed=seed, compile=_adam),
        directory=folder,
        rounds=5,
        verbose=0,
    )
    tests = [setup.test(stage.student) for stage in stages]
    return {"test": float(np.mean(tests)), "worst client": min(tests)}


def clients_alone(setup: Setup, seed: int, folder: Path) -> float:
    """The same clients, each by itself for as many images."""
    tests = []
    for x, y in _clients(setup):
        student = setup.student()
        # In a federated round a client sees its own and the public images.
        epochs = max(1, round(10 * (len(x) + 4_000) / len(x)))
        train(student, x, y, min(epochs, 60), seed)
        tests.append(setup.test(student))
    return float(np.mean(tests))


def _adam(model: keras.Model) -> None:
    model.compile(keras.optimizers.Adam(1e-3), CROSSENTROPY)


def _generator() -> keras.Model:
    """Return a network from noise to images."""
    layers = keras.layers
    x = inputs = keras.Input((64,))
    x = layers.Dense(7 * 7 * 64)(x)
    x = layers.Reshape((7, 7, 64))(x)
    x = layers.BatchNormalization()(x)
    for width in (64, 32):
        x = layers.UpSampling2D()(x)
        x = layers.Conv2D(width, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.LeakyReLU(0.2)(x)
    x = layers.Conv2D(1, 3, padding="same")(x)
    return keras.Model(inputs, layers.Activation("sigmoid")(x))


def data_free(setup: Setup, seed: int, folder: Path) -> float:
    """A student that sees no image: 2,000 steps on what a generator makes."""
    generator, student = _generator(), setup.student()
    both = students.DataFreeStudent(generator, setup.teacher, student)
    model = keras_kd.Distiller(
        None,
        both,
        losses.DataFreeDistillation(layer_name="teacher/embedding"),
        student_loss_weight=0.0,
        distillation_weight=1.0,
    )
    model.compile(
        keras_kd.optimizers.PerPart(
            {
                "generator": keras.optimizers.Adam(1e-3),
                "student": keras.optimizers.Adam(
                    keras.optimizers.schedules.CosineDecay(5e-3, 2_000)
                ),
            }
        )
    )
    noise = np.random.default_rng(seed).normal(size=(64 * 400, 64)).astype("float32")
    keras.utils.set_random_seed(seed)
    model.fit(noise, batch_size=64, epochs=5, verbose=0)
    return setup.test(student)


def on_noise(setup: Setup, seed: int, folder: Path) -> float:
    """Plain distillation on random pixels, as many steps of as many images."""
    student = setup.student()
    random = np.random.default_rng(seed)
    x = random.uniform(size=(64 * 100, *setup.x.shape[1:])).astype("float32")
    model = keras_kd.Distiller(
        setup.teacher, student, keras_kd.LogitsDistillation(4.0), None, 0.0
    )
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, 2_000)
    model.compile(keras.optimizers.Adam(schedule))
    keras.utils.set_random_seed(seed)
    model.fit(x, batch_size=64, epochs=20, verbose=0)
    return setup.test(student)


SCHEMES = (
    Scheme(
        "fine_tuned", "continual", 0.5, continual(distillation_weight=0.0),
        reference=True,
    ),
    Scheme(
        "without_forgetting", "continual", 0.5, continual(), "fine_tuned", None,
        note="LwF, no old example; each image among the classes of its task; alone is "
        "the same without the old model",
    ),
    Scheme(
        "fine_tuned_replay", "continual", 1,
        continual(distillation_weight=0.0, replay=20), reference=True,
    ),
    Scheme(
        "without_forgetting_replay", "continual", 0.5, continual(replay=20),
        "fine_tuned_replay", None, note="20 old examples a class, in both",
    ),
    Scheme("one_part", "private", 0.2, one_part, reference=True),
    Scheme("without_privacy", "private", 0.25, without_privacy, reference=True),
    Scheme(
        "pate", "private", 5.3, pate(scale=12.0), "one_part", "without_privacy",
        note="50 teachers of 800 images, Gaussian noise of 12 votes, all of 1,000 "
        "queries answered, delta 1e-5: an epsilon that protects little; alone has one "
        "teacher's part, plain KD no privacy",
    ),
    Scheme(
        "pate_confident", "private", 5.3,
        pate(scale=25.0, threshold=35.0, threshold_scale=40.0), "one_part",
        "without_privacy",
        note="the same teachers, asked with noise of 25 votes where 35 agree, checked "
        "with noise of 40",
    ),
    Scheme("clients_alone", "private", 2.5, clients_alone, reference=True),
    Scheme(
        "federated", "private", 2.5, federated, "clients_alone", None,
        note="mean of four clients; the public images have no labels",
    ),
    Scheme("kd_on_noise", "private", 1.6, on_noise, reference=True),
    Scheme(
        "data_free", "private", 1.6, data_free, None, "kd_on_noise",
        note="DAFL; plain KD sees random pixels",
    ),
)  # fmt: skip
