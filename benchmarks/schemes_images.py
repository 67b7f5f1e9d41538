"""Training schemes with the whole task: ensembles, peers, phases, two momenta."""

from pathlib import Path
from typing import Any

import keras

import keras_kd
from benchmarks.methods import BATCH, TEACHER_WIDTHS, convnet, train
from benchmarks.schemes_setup import CROSSENTROPY, Scheme, Setup, image, kd, saying
from keras_kd import losses, recipes, students, teachers
from keras_kd.data import (
    CurriculumBatches,
    LinearPacing,
    difficulty,
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


def by_validation(setup: Setup, seed: int, folder: Path) -> float:
    """The three teachers, each by its odds of being right on the validation images."""
    x, y = setup.task.validation
    right = [
        (t.predict(x, 500, verbose=0).argmax(-1) == y).mean() for t in setup.teachers
    ]
    odds = [float(r / (1 - r)) for r in right]
    run = several(
        lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0, weights=odds
    )
    return float(run(setup, seed, folder))


def features_by_confidence(setup: Setup, seed: int, folder: Path) -> float:
    """CA-MKD as published: logits, and features as far as a classifier can use them."""
    student = setup.student()
    names = [f"feature_{place}" for place in range(3)]
    inputs = {name: keras.Input((TEACHER_WIDTHS[-1],), name=name) for name in names}
    inputs_of, members = {"image": setup.x}, []
    for name, teacher in zip(names, setup.teachers, strict=True):
        embedding = teacher.get_layer("embedding").output
        body = keras.Model(teacher.input, embedding)
        inputs_of[name] = body.predict(setup.x, 500, verbose=0)
        # What is left of a teacher whose features are computed once.
        x = keras.layers.Identity(name="embedding")(inputs[name])
        head = keras.layers.Dense(10, name="logits")
        members.append(keras.Model(inputs, head(x)))
        head.set_weights(teacher.get_layer("logits").get_weights())
    model = keras_kd.Distiller(
        teachers.Ensemble(members),
        student,
        [
            losses.ConfidenceWeightedDistillation(3, 4.0),
            losses.ConfidenceWeightedFeatures(3, "embedding", "embedding", "logits"),
        ],
        [1 / 3, 50 / 3],
        student_loss_weight=1.0,
        distillation_weight=1.0,
        teacher_inputs=lambda x: {name: x[name] for name in names},
        student_inputs=image,
    )
    train(model, inputs_of, setup.y, setup.epochs, seed)
    return setup.test(student)


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


def online(make_loss: Any, branched: bool = False) -> Any:
    """Return two students, or branches, that train together."""

    def run(setup: Setup, seed: int, folder: Path) -> dict[str, float]:
        group: Any
        if branched:
            group = students.BranchedStudent.of(setup.student(), "stage_1", 2)
            ends = [group.branch(0), group.branch(1)]
        else:
            ends = [setup.student("first"), setup.student("second")]
            group = students.PeerGroup(ends)
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
        students.PeerGroup([large, student]),
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


def scheduled(name: str, first: float, last: float) -> Any:
    """Return plain distillation with a number that falls from epoch to epoch."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        loss = keras_kd.LogitsDistillation(4.0)
        model = keras_kd.Distiller(
            lambda x: x["said"], student, loss, [0.9], 0.1, distillation_weight=1.0,
            student_inputs=image,
        )  # fmt: skip
        setup.compile(setup.epochs)(model)
        keras.utils.set_random_seed(seed)
        falling = keras_kd.callbacks.EpochSchedule(
            name,
            lambda epoch, logs: first + (last - first) * epoch / setup.epochs,
            loss=loss if name == "temperature" else None,
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

    return run


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


def by_momentum(make_optimizer: Any, rate: float) -> Any:
    """Return plain distillation by stochastic gradient descent of some kind."""

    def run(setup: Setup, seed: int, folder: Path) -> float:
        student = setup.student()
        model = kd(lambda x: x["said"], student, student_inputs=image)
        steps = setup.epochs * -(-len(setup.y) // BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
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


SCHEMES = (
    *(
        Scheme(f"alone{n}", "reference", t, alone(t), reference=True)
        for n, t in (("", 1), ("_x2", 2), ("_x4", 4))
    ),
    *(
        Scheme(f"kd{n}", "reference", t, taught(0, t), reference=True)
        for n, t in (("", 1), ("_x2", 2), ("_x4", 4))
    ),
    Scheme("kd_teacher_1", "ensembles", 1, taught(1)),
    Scheme("kd_teacher_2", "ensembles", 1, taught(2)),
    Scheme(
        "ensemble_of_3", "ensembles", 1,
        several(lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0),
        note="mean of probabilities",
    ),
    Scheme(
        "ensemble_of_logits", "ensembles", 1,
        several(lambda: keras_kd.LogitsDistillation(4.0), combine="logits"),
        note="mean of logits",
    ),
    Scheme(
        "ensemble_by_weights", "ensembles", 1, by_validation,
        note="fixed weights, by how far a teacher is right on the validation images",
    ),
    Scheme(
        "ensemble_by_entropy", "ensembles", 1,
        several(
            lambda: keras_kd.LogitsDistillation(4.0), temperature=4.0, weights="entropy"
        ),
    ),
    Scheme(
        "ensemble_by_confidence", "ensembles", 1,
        several(lambda: losses.ConfidenceWeightedDistillation(3, 4.0)),
        note="CA-MKD on logits",
    ),
    Scheme(
        "features_by_confidence", "ensembles", 1, features_by_confidence,
        note="CA-MKD on logits and features",
    ),
    Scheme(
        "teacher_dropping", "ensembles", 1,
        several(lambda: losses.TeacherDroppingDistillation(3, 4.0)),
    ),
    Scheme("two_specialists", "ensembles", 1, specialists),
    Scheme(
        "mutual_learning", "peers", 2, online(losses.MutualDistillation), "alone_x2",
        "kd_x2",
        note="two equal students",
    ),
    Scheme(
        "collaborative", "peers", 2, online(losses.CollaborativeDistillation),
        "alone_x2", "kd_x2", note="KDCL",
    ),
    Scheme(
        "gated_branches", "peers", 1.5,
        online(lambda: losses.GatedEnsembleDistillation("trunk"), True), "alone_x2",
        "kd_x2", note="ONE, two branches from the second stage on",
    ),
    Scheme(
        "co_trained_teacher", "peers", 5, co_trained, "alone_x4", "kd_x4",
        note="the teacher sees the student's 4,000 images only",
    ),
    Scheme("curriculum", "phases", 1, curriculum),
    Scheme(
        "cooling_temperature", "phases", 1, scheduled("temperature", 8.0, 1.0),
        note="from 8 to 1",
    ),
    Scheme(
        "falling_weight", "phases", 1, scheduled("distillation_weight", 1.8, 0.2),
        note="weight of the teacher from 1.8 to 0.2",
    ),
    Scheme("stage_wise", "phases", 1, stage_wise),
    Scheme("growing_student", "phases", 1, grow),
    Scheme(
        "assistant_chain", "phases", 3.2, assistants, "alone_x4", "kd_x4",
        note="an assistant 1.5 times as wide, then the student",
    ),
    *(
        scheme
        for name, rate in (("", 0.05), ("_slow", 0.0125))
        for scheme in (
            Scheme(
                f"kd_momentum{name}", "reference", 1,
                by_momentum(
                    lambda r: keras.optimizers.SGD(r, momentum=0.9), rate
                ),
                reference=True,
            ),
            Scheme(
                f"dot{name}", "two momenta", 1,
                by_momentum(keras_kd.optimizers.DistillationOriented, rate),
                None, f"kd_momentum{name}",
                note=f"both at a rate of {rate}, with momentum 0.9",
            ),
        )
    ),
)  # fmt: skip
