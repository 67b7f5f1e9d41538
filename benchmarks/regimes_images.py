"""Regimes with the whole task: ensembles, oneself, peers, phases, two momenta."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks.methods import BATCH, TEACHER_WIDTHS, convnet, train
from benchmarks.regimes_setup import CROSSENTROPY, Regime, Setup, image, kd, saying
from keras_kd import losses, recipes, teachers
from keras_kd.data import (
    CurriculumBatches,
    LinearPacing,
    OverlappingBatches,
    SameClassBatches,
    ShuffledBatches,
    Views,
    difficulty,
    without_sample_ids,
)


def alone(times: int) -> Any:
    """Return the student alone, for so many times the epochs."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        train(student, setup.x, setup.y, times * setup.epochs, seed)
        return setup.test(student)

    return run


def taught(which: int = 0, times: int = 1) -> Any:
    """Return plain distillation from one teacher."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        inputs = {"image": setup.x, "said": setup.answers[which]}
        model = kd(lambda x: x["said"], student, student_inputs=image)
        train(model, inputs, setup.y, times * setup.epochs, seed)
        return setup.test(student)

    return run


def several(make_loss: Any, **ensemble: Any) -> Any:
    """Return distillation from the three teachers at once."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        names = [f"said_{place}" for place in range(3)]
        inputs = {"image": setup.x, **dict(zip(names, setup.answers, strict=True))}
        together = teachers.Ensemble(saying(names), **ensemble)
        model = keras_kd.Distiller(
            together,
            student,
            make_loss(),
            [0.9],
            student_loss_weight=0.1,
            distillation_weight=1.0,
            teacher_inputs=lambda x: {name: x[name] for name in names},
            student_inputs=image,
        )
        train(model, inputs, setup.y, setup.epochs, seed)
        return setup.test(student)

    return run


def specialists(setup: Setup, seed: int, folder: Path) -> float:
    """Two teachers of five classes each, one student of ten."""
    student = setup.student()
    both = [m.predict(setup.x, 500, verbose=0) for m in setup.specialists]
    inputs = {"image": setup.x, "low": both[0], "high": both[1]}
    model = keras_kd.Distiller(
        teachers.Specialists(saying(["low", "high"], 5)),
        student,
        [
            losses.ClassSubsetDistillation(
                list(range(5 * n, 5 * n + 5)), 4.0, own_examples_only=True,
                output=(n, None), name=f"specialist_{n}",
            )
            for n in range(2)
        ],
        [0.45, 0.45],
        student_loss_weight=0.1,
        distillation_weight=1.0,
        teacher_inputs=lambda x: {"low": x["low"], "high": x["high"]},
        student_inputs=image,
    )  # fmt: skip
    train(model, inputs, setup.y, setup.epochs, seed)
    return setup.test(student)


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
        callbacks=[keras_kd.callbacks.RefreshTeacher()],
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


def online(make_loss: Any, branched: bool = False) -> Any:
    """Return two students, or branches, that train together."""

    def run(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
        group: Any
        if branched:
            group = teachers.BranchedStudent.of(setup.student(), "stage_1", 2)
            ends = [group.branch(0), group.branch(1)]
        else:
            ends = [setup.student("first"), setup.student("second")]
            group = teachers.PeerGroup(ends)
        model = keras_kd.Distiller(
            None, group, make_loss(), [1.0], 1.0, distillation_weight=1.0
        )
        train(model, setup.x, setup.y, setup.epochs, seed)
        tests = [setup.test(end) for end in ends]
        return {"test": tests[0], "the other": tests[1]}

    return run


def co_trained(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """A large teacher that trains on the same 4,000 images, beside its student."""
    large = convnet(TEACHER_WIDTHS, setup.task, "large")
    student = setup.student()
    model = keras_kd.Distiller(
        None,
        teachers.PeerGroup([large, student]),
        losses.MutualDistillation(4.0, teachers=[0]),
        [0.9],
        1.0,
        distillation_weight=1.0,
    )
    train(model, setup.x, setup.y, setup.epochs, seed)
    return {"test": setup.test(student), "its teacher": setup.test(large)}


def curriculum(setup: Setup, seed: int, folder: Path) -> float:
    """Plain distillation that begins with what the teacher finds easy."""
    student = setup.student()
    hard = difficulty(setup.teacher, setup.x, setup.y, by="loss")
    inputs = {"image": setup.x, "said": setup.answers[0]}
    batches = CurriculumBatches(
        inputs,
        setup.y,
        BATCH,
        seed=seed,
        difficulty=hard,
        pacing=LinearPacing(0.3, epochs=setup.epochs // 2),
    )
    model = kd(lambda x: x["said"], student, student_inputs=image)
    setup.compile(setup.epochs)(model)
    keras.utils.set_random_seed(seed)
    model.fit(batches, epochs=setup.epochs, shuffle=False, verbose=0)
    return setup.test(student)


def cooling(setup: Setup, seed: int, folder: Path) -> float:
    """Plain distillation whose temperature falls from 8 to 1, epoch by epoch."""
    student = setup.student()
    loss = keras_kd.LogitsDistillation(8.0)
    model = keras_kd.Distiller(
        lambda x: x["said"], student, loss, [0.9], 0.1, distillation_weight=1.0,
        student_inputs=image,
    )  # fmt: skip
    setup.compile(setup.epochs)(model)
    keras.utils.set_random_seed(seed)
    falling = keras_kd.callbacks.EpochSchedule(
        "temperature", lambda epoch, logs: 8.0 - 7.0 * epoch / setup.epochs, loss=loss
    )
    model.fit(
        {"image": setup.x, "said": setup.answers[0]},
        setup.y,
        batch_size=BATCH,
        epochs=setup.epochs,
        verbose=0,
        callbacks=[falling],
    )
    return setup.test(student)


def stage_wise(setup: Setup, seed: int, folder: Path) -> float:
    """Five epochs on the middle features, five on the last, ten on the answers."""
    quarter = setup.epochs // 4
    shares = {"stage_1": quarter, "stage_2": quarter}
    phases = [
        recipes.Phase(
            lambda stage=stage: keras_kd.FeatureDistillation("mse", stage, stage),
            epochs=epochs,
        )
        for stage, epochs in shares.items()
    ]
    last = recipes.Phase(
        lambda: keras_kd.LogitsDistillation(4.0),
        epochs=setup.epochs - 2 * quarter,
        student_loss_weight=0.1,
        distillation_weight=0.9,
    )
    stages = recipes.stage_wise(
        setup.student,
        setup.teacher,
        [*phases, last],
        setup.training(setup.epochs // 2, seed=seed),
        directory=folder,
        verbose=0,
    )
    return setup.test(stages[-1].student)


def grow(setup: Setup, seed: int, folder: Path) -> float:
    """Ten epochs with two stages, ten with all three, taught all the time."""
    stages = recipes.grow(
        [lambda: setup.named_student(2), lambda: setup.named_student(3)],
        setup.training(setup.epochs // 2, seed=seed),
        directory=folder,
        teacher=setup.teacher,
        verbose=0,
    )
    return setup.test(stages[-1].student)


def assistants(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
    """Teacher, an assistant of 24/48/96 channels, student."""
    middle = lambda: convnet((24, 48, 96), setup.task, "assistant")  # noqa: E731
    stages = recipes.assistant_chain(
        [middle, setup.student],
        setup.training(seed=seed),
        directory=folder,
        teacher=setup.teacher,
        verbose=0,
    )
    return {
        "test": setup.test(stages[-1].student),
        "assistant": setup.test(stages[0].student),
    }


def by_momentum(make_optimizer: Any) -> Any:
    """Return plain distillation by stochastic gradient descent of some kind."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        model = kd(lambda x: x["said"], student, student_inputs=image)
        steps = setup.epochs * -(-len(setup.y) // BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(0.05, steps)
        model.compile(make_optimizer(schedule), CROSSENTROPY)
        keras.utils.set_random_seed(seed)
        model.fit(
            {"image": setup.x, "said": setup.answers[0]},
            setup.y,
            batch_size=BATCH,
            epochs=setup.epochs,
            verbose=0,
        )
        return setup.test(student)

    return run


def _views(x: Any, y: Any, seed: int) -> Any:
    return Views(x, y, BATCH, shifted, seed=seed)


REGIMES = (
    *(
        Regime(f"alone{n}", "reference", t, alone(t), reference=True)
        for n, t in (("", 1), ("_x2", 2), ("_x4", 4))
    ),
    *(
        Regime(f"kd{n}", "reference", t, taught(0, t), reference=True)
        for n, t in (("", 1), ("_x2", 2), ("_x4", 4))
    ),
    Regime("kd_teacher_1", "ensembles", 1, taught(1)),
    Regime("kd_teacher_2", "ensembles", 1, taught(2)),
    Regime(
        "ensemble_of_3", "ensembles", 1,
        several(lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0),
        note="to be compared with the best of kd, kd_teacher_1 and kd_teacher_2",
    ),
    Regime(
        "ensemble_by_entropy", "ensembles", 1,
        several(
            lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0, weights="entropy"
        ),
    ),
    Regime(
        "ensemble_by_confidence", "ensembles", 1,
        several(lambda: losses.ConfidenceWeightedDistillation(3, 4.0)),
        note="CA-MKD on logits",
    ),
    Regime(
        "teacher_dropping", "ensembles", 1,
        several(lambda: losses.TeacherDroppingDistillation(3, 4.0)),
    ),
    Regime("two_specialists", "ensembles", 1, specialists),
    Regime(
        "born_again", "oneself", 2, born_again(1.0, 0.5), "alone_x2", "kd_x2",
        note="as published: temperature 1, half of it labels",
    ),
    Regime(
        "born_again_soft", "oneself", 2, born_again(4.0, 0.1), "alone_x2", "kd_x2",
        note="temperature 4, a tenth of it labels",
    ),
    Regime(
        "born_again_unlabelled", "oneself", 2, born_again(4.0, 0.0), "alone_x2",
        "kd_x2", note="temperature 4, no labels for generation 1",
    ),
    Regime(
        "own_exits", "oneself", 1,
        own(lambda: losses.ExitDistillation(["stage_0", "stage_1", "stage_2"])),
        note="BYOT",
    ),
    Regime("moving_average", "oneself", 1, moving_average),
    Regime("earlier_self", "oneself", 1, earlier_self, note="PS-KD"),
    Regime(
        "last_batch", "oneself", 1,
        batched(
            lambda x, y, seed: OverlappingBatches(x, y, BATCH, seed=seed),
            lambda: losses.LastBatchDistillation(BATCH), 2.0, 0.5,
        ),
        note="DLB; ten epochs, whose batches show each image twice",
    ),
    Regime(
        "same_class", "oneself", 1,
        batched(
            lambda x, y, seed: SameClassBatches(x, y, BATCH, seed=seed),
            losses.SameClassDistillation, 1.0,
        ),
        note="CS-KD",
    ),
    Regime(
        "virtual_teacher", "oneself", 1,
        own(losses.VirtualTeacherDistillation, 0.1), note="Tf-KD, weight 0.1",
    ),
    Regime(
        "snapshots", "oneself", 4, snapshots, "alone_x4", "kd_x4",
        note="three cycles and the student",
    ),
    Regime(
        "alone_augmented", "reference", 1,
        batched(
            lambda x, y, seed: ShuffledBatches(
                x, y, BATCH, seed=seed, augment=shifted
            ),
            None, 0.0,
        ),
        reference=True,
    ),
    Regime(
        "two_views", "oneself", 1,
        batched(_views, losses.ViewAgreementDistillation, 1.0, 0.5),
        alone="alone_augmented",
        note="ten epochs of two augmented views; alone is augmented too",
    ),
    Regime(
        "mutual_learning", "peers", 2, online(losses.MutualDistillation), "alone", "kd",
        note="two equal students; beside one alone, which costs half",
    ),
    Regime(
        "collaborative", "peers", 2, online(losses.CollaborativeDistillation),
        "alone", "kd", note="KDCL",
    ),
    Regime(
        "gated_branches", "peers", 1.5,
        online(lambda: losses.GatedEnsembleDistillation("trunk"), True), "alone", "kd",
        note="ONE, two branches from the second stage on; cost estimated",
    ),
    Regime(
        "co_trained_teacher", "peers", 5, co_trained, "alone", "kd",
        note="the teacher sees the student's 4,000 images only",
    ),
    Regime("curriculum", "phases", 1, curriculum),
    Regime("cooling_temperature", "phases", 1, cooling),
    Regime("stage_wise", "phases", 1, stage_wise),
    Regime("growing_student", "phases", 1, grow),
    Regime(
        "assistant_chain", "phases", 3, assistants, "alone_x2", "kd_x2",
        note="the assistant costs twice the student; beside twice the epochs",
    ),
    Regime(
        "kd_momentum", "reference", 1,
        by_momentum(lambda rate: keras.optimizers.SGD(rate, momentum=0.9)),
        reference=True,
    ),
    Regime(
        "dot", "two momenta", 1,
        by_momentum(keras_kd.optimizers.DistillationOriented),
        taught="kd_momentum",
        note="both by SGD at 0.05 with momentum 0.9",
    ),
)  # fmt: skip
