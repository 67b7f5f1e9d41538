"""What a directory holds: whose it is, whether it is whole, and what may be added."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd
from keras_kd import recipes
from keras_kd.recipes import lock, rehearsal
from tests.recipes.settings import CROSSENTROPY, build, data, teacher, training
from tests.training.helpers import assert_same, values_of

Y = data()[1]


def compile_with(optimizer=None, loss=CROSSENTROPY, metrics=None):
    """Return a function that compiles with something else than is usual."""
    rate = {"learning_rate": 0.01}
    optimizer = optimizer or (lambda: keras.optimizers.Adam(**rate))
    return lambda model: model.compile(optimizer(), loss, metrics=metrics)


def twice(y, y_pred):
    return 2.0 * CROSSENTROPY(y, y_pred)


def thrice(y, y_pred):
    return 3.0 * CROSSENTROPY(y, y_pred)


def select(scale):
    """Return a function whose code is one, whatever the scale."""
    return lambda x: scale * x


def linear(end):
    return keras.optimizers.schedules.PolynomialDecay(1.0, 10, end)


def one_stage(folder, made=None, student=build, taught_by=None, **changes):
    """Run the smallest recipe: one student that learns from a given teacher."""

    def distil(given, student):
        losses = changes.get("losses", lambda: keras_kd.LogitsDistillation(4.0))
        arguments = {
            "student_loss_weight": 0.1,
            **{k: v for k, v in changes.items() if k != "losses"},
        }
        return keras_kd.Distiller(given, student, losses(), **arguments)

    return recipes.assistant_chain(
        [student],
        made or training(epochs=1, compile=compile_with()),
        directory=folder,
        teacher=(taught_by or teacher)(),
        distil=distil,
        verbose=0,
    )


def other_weights():
    keras.utils.set_random_seed(78)
    return build(16, depth=2)


def trained(**changes):
    return {"made": training(epochs=1, **{"compile": compile_with(), **changes})}


def relu_student(activation="tanh", bias=None):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation=activation),
            layers.Dense(4, name="logits"),
        ]
    )
    if bias is not None:
        model.get_layer("logits").bias.assign(bias * np.ones(4))
    return model


def divergence(name):
    return {"losses": lambda: keras_kd.LogitsDistillation(4.0, name)}


def stopping(patience):
    return lambda: [keras.callbacks.EarlyStopping("loss", patience=patience)]


def rate(factor):
    return lambda: [keras.callbacks.LearningRateScheduler(lambda e, lr: factor * lr)]


def data_set(scale, labels=None):
    """Return a function of the epoch to a data set in a fixed order."""
    x, y = data()
    return lambda epoch: keras_kd.data.ShuffledBatches(
        scale * x, y if labels is None else labels, 16, epoch=epoch
    )


# By the name of the field that the message must give: what the directory was made
# with, and what is asked for. None stands for `one_stage` as it is.
DIFFERENCES = {
    "`teacher` weights": (None, {"taught_by": other_weights}),
    "`teacher`, `teacher` weights": (None, {"taught_by": lambda: build(16)}),
    "`student`[.]": (
        {"student": relu_student},
        {"student": lambda: relu_student("relu")},
    ),
    "`student` weights": (
        {"student": relu_student},
        {"student": lambda: relu_student(bias=0.5)},
    ),
    "`student`, `student` weights": (None, {"student": lambda: build(9)}),
    "`distillation_losses`.* loss": (
        divergence("kl_divergence"),
        divergence("reverse_kl_divergence"),
    ),
    r"temperature \(4.0 there, 2.0 now\)": (
        None,
        {"losses": lambda: keras_kd.LogitsDistillation(2.0)},
    ),
    "`distillation_losses`, `distillation_loss_weights`": (
        None,
        {"losses": lambda: [keras_kd.LogitsDistillation(4.0, name=n) for n in "ab"]},
    ),
    r"`distillation_loss_weights`\[0\] \(1.0 there, 0.5 now\)": (
        None,
        {"distillation_loss_weights": [0.5]},
    ),
    "`student_loss_weight`": (None, {"student_loss_weight": 0.2}),
    "`distillation_weight`.* end_learning_rate": (
        {"distillation_weight": linear(0.0)},
        {"distillation_weight": linear(0.5)},
    ),
    "`student_inputs`": (
        {"student_inputs": select(1.0)},
        {"student_inputs": select(2.0)},
    ),
    "`teacher_inputs`": (
        {"teacher_inputs": lambda x: x + 1.0},
        {"teacher_inputs": lambda x: x * 1.0},
    ),
    r"optimizer learning_rate \(0.0\d+ there, 0.5 now\)": (
        None,
        trained(compile=compile_with(lambda: keras.optimizers.Adam(0.5))),
    ),
    "optimizer": (
        None,
        trained(compile=compile_with(lambda: keras.optimizers.SGD(0.01))),
    ),
    "task loss": (
        trained(compile=compile_with(loss=twice)),
        trained(compile=compile_with(loss=thrice)),
    ),
    "task loss ignore_class": (
        None,
        trained(
            compile=compile_with(
                loss=keras.losses.SparseCategoricalCrossentropy(True, ignore_class=3)
            )
        ),
    ),
    "`metrics`": (None, trained(compile=compile_with(metrics=["accuracy"]))),
    r"`batch_size` \(16 there, 24 now\)": (None, trained(batch_size=24)),
    r"`seed` \(5 there, 6 now\)": (None, trained(seed=6)),
    "`x`": (None, trained(x=data()[0] + 1)),
    "`y`": (None, trained(y=(Y + 1) % 4)),
    "`y`.": (None, trained(y=Y.astype("int64"))),
    "`sample_weight`": (None, trained(sample_weight=np.ones(48))),
    "`validation_data`": (
        trained(validation_data=list(data(seed=1))),
        trained(validation_data=list(data(seed=2))),
    ),
    "`class_weight`": (
        trained(class_weight={0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}),
        trained(class_weight={0: 1.0, 1: 1.0, 2: 1.0, 3: 2.0}),
    ),
    r"`callbacks`.* patience \(1 there, 2 now\)": (
        trained(callbacks=stopping(1)),
        trained(callbacks=stopping(2)),
    ),
    "`callbacks`": (trained(callbacks=rate(0.5)), trained(callbacks=rate(0.25))),
    "`x` content": (
        trained(x=data_set(1.0), y=None),
        trained(x=data_set(2.0), y=None),
    ),
    r"`epochs` \(3 there, 1 now\)": (
        {"made": training(epochs=3, compile=compile_with())},
        None,
    ),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return a function to a copy of a directory, which is trained once for all."""
    made = {}

    def copy(name, train, folder):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("kept")
            train(made[name])
        return Path(shutil.copytree(made[name], folder / "copy"))

    return copy


@pytest.fixture
def untrained(monkeypatch):
    """Leave out the training and its check, which a key does not depend on."""
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: None)
    monkeypatch.setattr(rehearsal, "check_training", lambda *_: None)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", DIFFERENCES)
def test_another_run_is_refused_by_the_name_of_what_differs(name, kept, tmp_path):
    """The student of another teacher, loss or data would pass for the one asked for."""
    before, after = DIFFERENCES[name]
    key = "untrained" if before is None else name
    folder = kept(key, lambda f: one_stage(f, **(before or {})), tmp_path)
    with pytest.raises(ValueError, match=f"made with other .*{name}"):
        one_stage(folder, **(after or {}))


def test_a_trained_run_is_refused_and_kept(kept, tmp_path):
    """Nothing is lost to the mistake: the first run is read as before."""
    folder = kept("usual", one_stage, tmp_path)
    before = contents(folder)
    with pytest.raises(ValueError, match="other `teacher` weights.*Give another dir"):
        one_stage(folder, taught_by=other_weights)
    assert contents(folder) == before
    one_stage(folder)


def compiled(model):
    """Return a model that has been trained for nothing, at another rate."""
    model.compile(keras.optimizers.SGD(0.0), CROSSENTROPY)
    model.fit(*data(), verbose=0)
    model.set_weights(teacher().get_weights())
    return model


SAME = {
    "new functions and other made-up names": lambda: [relu_student() for _ in "ab"],
    "an observer": trained(callbacks=lambda: [keras.callbacks.Callback()]),
    "copies of the data": trained(x=data()[0].copy(), y=Y.copy()),
    "a teacher that has an optimizer": {"taught_by": lambda: compiled(teacher())},
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_run_is_read(name, kept, tmp_path):
    """Who is refused his own directory loses the night's work as well."""
    folder = kept("usual", one_stage, tmp_path)
    given = SAME[name]() if callable(SAME[name]) else SAME[name]
    times = written(folder)
    one_stage(folder, **(given if isinstance(given, dict) else {}))
    assert written(folder) == times


def written(folder):
    """Return when each file of students and histories was written."""
    files = [*folder.glob("*/student.weights.h5"), *folder.glob("*/history.json")]
    assert files
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in files}


def test_other_stages_and_other_recipes(kept, tmp_path):
    """Stages of two recipes mixed in one directory would be nobody's result."""
    folder = kept("usual", one_stage, tmp_path)
    with pytest.raises(
        ValueError, match=r"recipe \('assistant_chain' there, 'grow' now"
    ):
        recipes.grow([build, build], training(), directory=folder, verbose=0)

    def phase(folder, **changes):
        made = recipes.Phase(lambda: keras_kd.LogitsDistillation(2.0), **changes)
        recipes.stage_wise(
            build, teacher(), [made], training(epochs=1), directory=folder, verbose=0
        )

    folder = tmp_path / "phases"
    phase(folder, trainable=["dense_0"])
    with pytest.raises(
        ValueError, match=r"`trainable`\[0\] \('dense_0' there, 'logits"
    ):
        phase(folder, trainable=["logits"])


# Damage


def two_stages(folder, epochs=2, **changes):
    return recipes.born_again(
        build,
        training(epochs=epochs, **changes),
        directory=folder,
        generations=1,
        verbose=0,
    )


class Interruption(Exception):
    pass


class Stop(keras.callbacks.Callback):
    """Raises in the second epoch of the second stage."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1 and hasattr(self.model, "teacher"):
            raise Interruption


def half_of_two_stages(folder):
    with pytest.raises(Interruption):
        two_stages(folder, callbacks=lambda: [Stop()])


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(path):
    """Change a number in a file that stays good JSON."""
    found = json.loads(path.read_text())
    found["content"] = {**found["content"], "epochs": 7}
    path.write_text(json.dumps(found))


def swap(path):
    """Put the file of the other stage in its place."""
    names = ["generation_0", "generation_1"]
    (other,) = [n for n in names if n != path.parent.name]
    shutil.copy(path.parent.parent / other / path.name, path)


DAMAGE = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncate,
    "flipped": flip,
    "edited": edit,
    "swapped": swap,
}
WHOLE = ("run.json", "generation_0/key.json", "generation_0/history.json")
HALF = ("generation_1/progress.json",)
WEIGHTS = ("generation_0/student.weights.h5", "generation_1/epoch-1.weights.h5")
DAMAGED = [
    *((file, kind) for file in WHOLE + HALF for kind in ("missing", "empty", "edited")),
    *((file, "truncated") for file in WHOLE + HALF + WEIGHTS),
    *((file, "missing") for file in WEIGHTS),
    *((file, "flipped") for file in WEIGHTS),
    *((f"generation_0/{n}", "swapped") for n in ("key.json", "student.weights.h5")),
    ("generation_0/history.json", "swapped"),
    ("generation_1/epoch-1-callbacks.npz", "truncated"),
    ("generation_1/epoch-1-callbacks.npz", "missing"),
]


@pytest.mark.parametrize(("file", "kind"), DAMAGED)
def test_a_damaged_file_is_named(file, kind, kept, tmp_path):
    """Who does not know which file it is deletes all of them, and trains for days."""
    half = kind != "swapped" and file.startswith("generation_1")
    make = half_of_two_stages if half else two_stages
    folder = kept(make.__name__, make, tmp_path)
    DAMAGE[kind](folder / file)
    before = contents(folder)
    with pytest.raises(ValueError, match=f"'{file}'.*delete th(e|is) "):
        two_stages(folder)
    assert contents(folder) == before


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if path.name != "lock"}


def test_what_is_deleted_is_made_anew(kept, tmp_path):
    """The message says so; the stages beside it stay as they are."""
    folder = kept(two_stages.__name__, two_stages, tmp_path)
    times, ends = written(folder), two_stages(folder)
    shutil.rmtree(folder / "generation_0")
    again = two_stages(folder)
    changed = {p for p, time in written(folder).items() if time != times[p]}
    assert {path.parent.name for path in changed} == {"generation_0"}
    for got, wanted in zip(again, ends, strict=True):
        assert_same(values_of(got.student.weights), values_of(wanted.student.weights))


@pytest.mark.parametrize("kind", ["empty", "truncated", "swapped"])
def test_damaged_arrays_are_named(kind, tmp_path):
    """Votes that are not those the student has learned from give a false ε."""
    run = recipes.Run(tmp_path, "own", verbose=0)
    for name in ("generation_0", "generation_1"):
        run.value(name, lambda: {"a": np.arange(200)}, {"of": name})
    DAMAGE[kind](tmp_path / "generation_0/arrays.npz")
    with pytest.raises(
        ValueError, match="'generation_0/arrays.npz'.*Put the file back"
    ):
        run.value("generation_0", dict, {"of": "generation_0"})
    with pytest.raises(ValueError, match="made with other `of`"):
        run.value("generation_1", dict, {"of": "another"})


@pytest.mark.parametrize("directory", [None, "", b"", 3, "file"])
def test_what_is_no_directory_is_refused(directory, tmp_path, monkeypatch):
    """An empty path would fill whatever folder the program was started in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="`directory` must be the path of a folder"):
        two_stages(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", [("os", "replace"), ("keras", "save_weights")])
def test_a_disk_that_is_full_loses_nothing(failing, tmp_path, monkeypatch):
    """Each file fails once, half written; the run goes on from what was there."""
    made = training(epochs=1, batch_size=48)
    whole = recipes.Run(tmp_path / "whole", "own", verbose=0).stage("one", build, made)
    target, name = {"os": os, "keras": keras.saving}[failing[0]], failing[1]
    failed, real = set(), getattr(target, name)

    def full(first, second, *rest, **kwargs):
        if str(second) not in failed:
            failed.add(str(second))
            if name == "save_weights":
                Path(second).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(first, second, *rest, **kwargs)

    monkeypatch.setattr(target, name, full)
    while True:
        run = recipes.Run(tmp_path / "full", "own", verbose=0)
        run._rehearsed = True  # which writes nothing
        try:
            stage = run.stage("one", build, made)
            break
        except OSError:
            continue
        finally:
            assert not list((tmp_path / "full").rglob("part-*"))
    assert failed
    assert_same(values_of(stage.student.weights), values_of(whole.student.weights))
    assert stage.history == whole.history


# Two processes

HOLD = """
import runpy, sys, pathlib
lock = runpy.run_path(sys.argv[1])["DirectoryLock"](pathlib.Path(sys.argv[2]))
with lock:
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_exclude_each_other(tmp_path):
    """Both would write the same files; a process that was killed holds nothing."""
    command = [sys.executable, "-c", HOLD, lock.__file__, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "held\n"
        run = recipes.Run(tmp_path, "own", verbose=0)
        message = f"one process at a time.*{tmp_path.name}.*the process {other.pid} "
        with pytest.raises(ValueError, match=message):
            run.value("a", dict)
        other.kill()
        other.wait()
        assert (tmp_path / "lock").read_text() == f"{other.pid}\n"
        assert run.value("a", lambda: {"one": np.ones(1)})["one"] == 1
        with run, run:  # of one process, several times
            pass
        # And this process, which lives on, has let go of it.
        subprocess.run(command, input="", text=True, check=True, stdout=pipe)


def test_a_finished_run_is_read_where_nobody_can_write(kept, tmp_path, monkeypatch):
    """An archive of finished runs is often mounted read-only."""
    folder = kept(two_stages.__name__, two_stages, tmp_path)
    real = os.open

    def read_only(path, flags, *rest, **kwargs):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *rest, **kwargs)

    (folder / "lock").unlink()
    monkeypatch.setattr(os, "open", read_only)
    assert len(two_stages(folder)) == 2
    assert not (folder / "lock").exists()


# What may be added


def test_one_generation_more(kept, tmp_path):
    """What was trained is right, and is the beginning of the longer run."""
    folder = kept(two_stages.__name__, two_stages, tmp_path)
    times = written(folder)
    arguments = {"generations": 2, "verbose": 0}
    made = training(epochs=2)
    longer = recipes.born_again(build, made, directory=folder, **arguments)
    assert {path: written(folder)[path] for path in times} == times
    whole = recipes.born_again(build, made, directory=tmp_path / "whole", **arguments)
    for got, wanted in zip(longer, whole, strict=True):
        assert_same(values_of(got.student.weights), values_of(wanted.student.weights))
        assert got.history == wanted.history


@pytest.mark.parametrize("unfinished", [False, True])
def test_more_epochs_of_the_last_stage(unfinished, tmp_path):
    """It goes on where it ended: as if it had been that long from the beginning."""

    def run(folder, epochs, callbacks=None):
        made = training(epochs=epochs, compile=compile_with(), callbacks=callbacks)
        return one_stage(folder, made)[0]

    class Third(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise Interruption

    whole = run(tmp_path / "whole", 4)
    if unfinished:
        with pytest.raises(Interruption):
            run(tmp_path / "longer", 3, lambda: [Third()])
    else:
        run(tmp_path / "longer", 2)
    longer = run(tmp_path / "longer", 4)
    assert_same(values_of(longer.student.weights), values_of(whole.student.weights))
    assert longer.history == whole.history


def test_more_epochs_of_all_stages_are_refused(kept, tmp_path):
    """The first has lost its optimizer's state, and the second another teacher."""
    folder = kept(two_stages.__name__, two_stages, tmp_path)
    with pytest.raises(
        ValueError, match=r"`epochs` can be raised in the last.*2 there"
    ):
        two_stages(folder, epochs=3)


def test_one_member_more_keeps_the_others(tmp_path):
    """Only the student follows from the number of members, and is refused by name."""

    def run(count):
        return recipes.ensemble(
            [build] * count, build, training(epochs=1), directory=tmp_path, verbose=0
        )

    run(2)
    times = written(tmp_path)
    with pytest.raises(ValueError, match="`teacher`, `teacher` weights.*'student'"):
        run(3)
    shutil.rmtree(tmp_path / "student")
    assert [stage.name for stage in run(3)][-2:] == ["member_2", "student"]
    members = {path for path in times if path.parent.name.startswith("member")}
    assert len(members) == 4
    assert {path: written(tmp_path)[path] for path in members} == {
        path: times[path] for path in members
    }


def test_a_data_set_in_no_order_is_known_by_its_form(tmp_path):
    """What is shuffled anew each time would be refused for ever, the same or not."""
    x, y = data()

    class Shuffled(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            rows = np.random.default_rng().permutation(len(x))[:16]
            return x[rows][:, : self.features], y[rows]

    def shuffled(epoch, features):
        batches = Shuffled()
        batches.features = features
        return batches

    def run(features):
        made = replace(training(epochs=1), x=partial(shuffled, features=features))

        def student():
            return keras.Sequential([keras.Input((features,)), layers.Dense(4)])

        recipes.Run(tmp_path, "own", verbose=0).stage("one", student, made)

    run(6)
    run(6)
    with pytest.raises(ValueError, match="made with other `x` form"):
        run(5)
