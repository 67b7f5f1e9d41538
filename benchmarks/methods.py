"""What every method does for one student: accuracy over seeds, and the gap recovered.

    KERAS_BACKEND=jax python -m benchmarks.methods --folder results
    KERAS_BACKEND=jax python -m benchmarks.methods --folder results --data emoji

The protocol, fixed before the first run:

- Fashion-MNIST. The teacher (stages of 2 convolutions, 32, 64 and 128 wide) is trained
  once on 50,000 images. The student (half as wide) sees 4,000 of them: it has less
  capacity and less data, which is when a teacher is asked for.
- Emoji, the harder set: plain distillation and the ten best of Fashion-MNIST; the
  images are those of `benchmarks.tasks`.
- 20 epochs (40 on emoji) of batches of 64, Adam at 0.005 with a cosine decay, no
  augmentation; the same initial weights and the same order of batches for all methods
  of a seed.
- Each method with its published settings, loss weight and weight of the labels, as
  `keras_kd.losses.methods()` lists them; feature methods compare the last stage or what
  comes of it (`benchmarks.signals`), methods on several layers all three stages.
  Published warm-ups are the same share of the run.
- Where seed 0 falls below the student alone on the validation images, the weight of
  the loss is divided by ten, once, for all seeds, if validation gains by it.
- The last epoch counts. The test set is read once, by the finished student.

The gap recovered is (student − alone) / (teacher − alone), in mean test accuracy.

Nothing is augmented, so the teacher's outputs are computed once and replayed. Finished
runs are kept in the folder: the same command goes on where it stopped, and several of
them may share the work.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_kd
from benchmarks.data import Arrays
from benchmarks.signals import (
    STAGES,
    classifier_methods,
    make_loss,
    teacher_layers,
)
from benchmarks.tasks import TASKS, Task

TEACHER_WIDTHS, STUDENT_WIDTHS = (32, 64, 128), (16, 32, 64)
BATCH = 64
BEST = 10
SEEDS = (0, 1, 2)
ALONE = "student alone"
PEER = "keras.distillation, repaired"


def convnet(widths: tuple[int, ...], task: Task, name: str) -> keras.Model:
    """Return a convnet whose stages each halve the image."""
    inputs = x = keras.Input(task.student[0].shape[1:], name="image")
    for stage, width in zip(STAGES, widths, strict=True):
        for block in range(2):
            strides = 1 if block else 2
            x = layers.Conv2D(
                width, 3, strides=strides, padding="same", use_bias=False
            )(x)
            normalized = f"{stage}_normalized" if block else None
            x = layers.BatchNormalization(momentum=0.9, name=normalized)(x)
            x = layers.ReLU(name=stage if block else None)(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name=name)


def train(model: keras.Model, x: Any, y: Any, epochs: int, seed: int) -> None:
    """Fit any of the contenders."""
    steps = epochs * math.ceil(len(y) / BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    keras.utils.set_random_seed(seed)
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)


def accuracy(student: keras.Model, data: Arrays) -> float:
    """Return the share of right answers in percent."""
    x, y = data
    return float(100 * (student.predict(x, 1000, verbose=0).argmax(-1) == y).mean())


def trained_teacher(task: Task, folder: Path) -> keras.Model:
    """Return the one teacher, trained where it does not yet lie in the folder."""
    keras.utils.set_random_seed(0)
    teacher = convnet(TEACHER_WIDTHS, task, "teacher")
    path = folder / "teacher.weights.h5"
    if not path.exists():
        train(teacher, *task.teacher, task.teacher_epochs, seed=0)
        teacher.save_weights(path)
    teacher.load_weights(path)
    return teacher


class Replay(keras.Model):
    """A teacher that gives out what the real one said, by the names of its layers."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(name="replayed_teacher")
        self.replayed = [layers.Identity(name=name) for name in names]

    def call(self, x):
        outputs = {layer.name: layer(x[layer.name]) for layer in self.replayed}
        return outputs["logits"]


class OnImages(keras.Model):
    """A student for a library that gives both models the same inputs."""

    def __init__(self, student: keras.Model) -> None:
        super().__init__()
        self.student = student

    def call(self, x, training=None):
        return self.student(x["image"], training=training)


def warmed_up(weight: float, share: float, task: Task) -> Any:
    """Return a weight that grows from 0 over a share of the run."""
    steps = task.epochs * math.ceil(len(task.student[1]) / BATCH)
    if not share:
        return weight
    return keras_kd.schedules.LinearWarmup(weight, round(share * steps))


def distiller(
    name: str,
    student: keras.Model,
    task: Task,
    seen: dict[str, np.ndarray],
    shrink: float,
) -> keras.Model:
    """Return what trains `student` by a method.

    Args:
        name: The method.
        student: The student.
        task: The task.
        seen: All that the teacher said, by layer.
        shrink: The factor on the published weight.
    """
    if name == PEER:
        return keras.distillation.Distiller(
            Replay(["logits"]),
            OnImages(student),
            keras.distillation.LogitsDistillation(
                temperature=4.0, loss=keras.losses.KLDivergence()
            ),
            student_loss_weight=0.1,
        )
    method = keras_kd.losses.methods()[name]
    loss = make_loss(name, len(task.student[1]))
    weight = warmed_up(shrink * method.weight, method.warmup, task)
    return keras_kd.Distiller(
        None if method.signals == "nothing" else Replay(list(seen)),
        student,
        loss,
        [weight],
        student_loss_weight=method.student_loss_weight,
        distillation_weight=1.0,
        student_inputs=lambda x: x["image"],
    )


def student_for(name: str, task: Task, teacher: keras.Model) -> keras.Model:
    """Return an untrained student; the method may give it the teacher's classifier."""
    student = convnet(STUDENT_WIDTHS, task, "student")
    if name == "simkd":
        student, _ = keras_kd.recipes.reuse_classifier(
            student, teacher, "stage_2", "stage_2"
        )
    return student


def run(
    name: str,
    seed: int,
    shrink: float,
    task: Task,
    teacher: keras.Model,
    seen: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Train one student, and measure it once it is finished."""
    x, y = task.student
    keras.utils.set_random_seed(seed)
    student = student_for(name, task, teacher)
    start = time.perf_counter()
    if name == ALONE:
        train(student, x, y, task.epochs, seed)
    else:
        wanted = replayed_layers(name)
        inputs = {"image": x, "index": np.arange(len(x), dtype="int32")}
        inputs |= {layer: seen[layer] for layer in wanted}
        shown = {layer: seen[layer] for layer in wanted}
        model = distiller(name, student, task, shown, shrink)
        train(model, inputs, y, task.epochs, seed)
    return {
        "method": name,
        "seed": seed,
        "shrink": shrink,
        "seconds": time.perf_counter() - start,
        "validation": accuracy(student, task.validation),
        "test": accuracy(student, task.test),
    }


def replayed_layers(name: str) -> list[str]:
    """List the layers of the teacher that a method reads."""
    return ["logits", *([] if name == PEER else teacher_layers(name))]


def contenders(data: str, folder: Path) -> list[str]:
    """List the student alone, the peer, and the methods to compare on a set."""
    if data == "fashion_mnist":
        return [ALONE, PEER, *classifier_methods()]
    rows = json.loads((folder / "fashion_mnist.json").read_text())["rows"]
    best = [row["method"] for row in rows if row["method"] not in (ALONE, PEER, "kd")]
    return [ALONE, PEER, "kd", *best[:BEST]]


class Results:
    """The finished runs, one file each, so that several processes can share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str, seed: int, shrink: float) -> Path:
        """Return where a run is kept."""
        return self.folder / f"{name.replace(' ', '_')}-{seed}-{shrink:g}.json"

    def get(
        self, name: str, seed: int, shrink: float, make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a run, made now where it is not yet there."""
        path = self.path(name, seed, shrink)
        if not path.exists():
            result = make()
            part = path.with_suffix(".part")
            part.write_text(json.dumps(result))
            part.rename(path)
            print(result, flush=True)
        return dict(json.loads(path.read_text()))


def runs_of(name: str, results: Results, *given: Any) -> list[dict[str, Any]]:
    """Return the runs of a method, at the loss weight that validation leaves it."""

    def at(seed: int, shrink: float, name: str = name) -> dict[str, Any]:
        return results.get(name, seed, shrink, lambda: run(name, seed, shrink, *given))

    shrink = 1.0
    if name not in (ALONE, PEER):
        published, alone = at(0, 1.0), at(0, 1.0, ALONE)
        if published["validation"] < alone["validation"]:
            retried = at(0, 0.1)
            if retried["validation"] > published["validation"]:
                shrink = 0.1
    return [at(seed, shrink) for seed in SEEDS]


def summary(runs: dict[str, list[dict[str, Any]]], teacher: float) -> list[Any]:
    """Return the rows of the table, the best method first."""
    alone = np.array([r["test"] for r in runs[ALONE]])
    rows = []
    for name, of_method in runs.items():
        test = np.array([r["test"] for r in of_method])
        gain = test - alone  # paired: the same weights and batches
        rows.append(
            {
                "method": name,
                "mean": float(test.mean()),
                "std": float(test.std(ddof=1)),
                "gain": float(gain.mean()),
                "error": float(gain.std(ddof=1) / math.sqrt(len(gain))),
                "recovered": float(gain.mean() / (teacher - alone.mean())),
                "shrink": of_method[0]["shrink"],
            }
        )
    return sorted(rows, key=lambda row: -row["mean"])


def step_ratios(folder: Path) -> dict[str, float]:
    """Return what a step costs over the floor, as `benchmarks.method_steps` found."""
    path = folder / "steps-jax.json"
    if not path.exists():
        return {}
    ratios = json.loads(path.read_text())["ratios"]
    return {name: ratio["median"] for name, ratio in ratios.items()}


def table(rows: list[Any], teacher: float, steps: dict[str, float]) -> str:
    """Return the results as a Markdown table with its caption."""
    lines = [
        "| method | test accuracy (%) | gain in points | gap recovered | weight "
        "| step over the floor |",
        "|---|---:|---:|---:|---|---:|",
        f"| teacher | {teacher:.2f} | | 100 % | | |",
    ]
    for row in rows:
        weight = "a tenth" if row["shrink"] != 1.0 else "published"
        shown = "" if row["method"] in (ALONE, PEER) else weight
        step = f"{steps[row['method']]:.2f}" if row["method"] in steps else ""
        lines.append(
            f"| {row['method']} | {row['mean']:.2f} ± {row['std']:.2f} | "
            f"{row['gain']:+.2f} ± {row['error']:.2f} | "
            f"{100 * row['recovered']:.0f} % | {shown} | {step} |"
        )
    ours = [row for row in rows if row["method"] not in (ALONE, PEER)]
    helped = sum(row["gain"] > 2 * row["error"] for row in ours)
    hurt = sum(row["gain"] < -2 * row["error"] for row in ours)
    caption = (
        f"Of {len(ours)} methods {helped} help by more than two standard errors of the "
        f"paired gain over {len(SEEDS)} seeds, {hurt} hurt by more than that, and "
        f"{len(ours) - helped - hurt} do neither. None is left out. Accuracy: last "
        "epoch, mean ± standard deviation; gain: mean ± standard error. Step over the "
        "floor: `benchmarks.method_steps` on JAX."
    )
    return "\n".join([*lines, "", caption])


def draw(rows: list[Any], teacher: float, path: Path) -> None:
    """Draw the accuracies beside those of the student alone and of the teacher."""
    import matplotlib.pyplot as plt

    alone = next(row for row in rows if row["method"] == ALONE)
    figure, axes = plt.subplots(figsize=(7, 0.24 * len(rows) + 1.2))
    for place, row in enumerate(reversed(rows)):
        colour = "#d95f02" if row["method"] in (ALONE, PEER) else "#1b9e77"
        axes.errorbar(row["mean"], place, xerr=row["std"], fmt="o", color=colour)
    axes.set_yticks(range(len(rows)), [row["method"] for row in reversed(rows)])
    axes.axvline(alone["mean"], color="#777777", linestyle=":")
    axes.axvline(teacher, color="#777777")
    axes.set_xlabel("test accuracy (%): dotted, the student alone; solid, the teacher")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is missing, and write the table and the picture."""
    parser = argparse.ArgumentParser(description="Accuracy of every method.")
    parser.add_argument("--folder", type=Path, default=Path("results"))
    parser.add_argument("--data", choices=list(TASKS), default="fashion_mnist")
    parser.add_argument("--methods", nargs="+", help="run only these, write no table")
    options = parser.parse_args()
    folder = options.folder / options.data
    folder.mkdir(parents=True, exist_ok=True)
    task = TASKS[options.data]()
    teacher = trained_teacher(task, folder)
    names = ["logits", "embedding", *STAGES, *(f"{s}_normalized" for s in STAGES)]
    outputs = {name: teacher.get_layer(name).output for name in names}
    seen = keras.Model(teacher.inputs, outputs).predict(task.student[0], 500, verbose=0)
    results = Results(folder)
    runs = {}
    for name in options.methods or contenders(options.data, options.folder):
        runs[name] = runs_of(name, results, task, teacher, seen)
        keras.backend.clear_session()
    if options.methods:
        return
    of_teacher = accuracy(teacher, task.test)
    rows = summary(runs, of_teacher)
    text = table(rows, of_teacher, step_ratios(options.folder))
    print(text)
    report = options.folder / f"{options.data}.md"
    report.write_text(text + "\n")
    report.with_suffix(".json").write_text(
        json.dumps({"teacher": of_teacher, "rows": rows}, indent=1)
    )
    draw(rows, of_teacher, report.with_suffix(".png"))


if __name__ == "__main__":
    main()
