"""What a training step costs with each method, beside the least it could.

    KERAS_BACKEND=jax python -m benchmarks.method_steps --json steps-jax.json

Models, floor and clock are those of `benchmarks.step`, the student as wide as the
teacher: the teacher's inference, which gives out what the method compares, plus the
student's own training step. Layers that belong to a method (exits, fusions, a
generator, memory banks) are no part of the floor. Methods are measured by turns with
the floor, a few at a time.
"""

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks import timing
from benchmarks.convnets import CLASSES, convnet
from benchmarks.signals import classifier_methods, make_loss, teacher_layers

TARGET = 1.15
AT_A_TIME = 5
EXAMPLES = 50_000  # of CIFAR, for the memory banks


def image(x: Any) -> Any:
    """Return what the models see of the batch."""
    return x["image"]


class Steps:
    """Makes what is timed: the floor's two parts, and a Distiller for each method."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        rng = np.random.default_rng(0)
        count = options.batch_size * options.steps
        shape = (count, options.image_size, options.image_size, 3)
        self.x = rng.standard_normal(shape, dtype="float32")
        self.y = rng.integers(0, CLASSES, count)
        self.ids = np.arange(count, dtype="int32")

    def model(self, depth: int) -> keras.Model:
        """Return a convnet: the teacher and the student differ in depth."""
        options = self.options
        return convnet(options.image_size, options.widths, depth, name="model")

    def training(self, model: keras.Model, x: Any) -> timing.Training:
        """Compile `model` as all contenders are compiled."""
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        options = self.options
        return timing.Training(model, x, self.y, options.batch_size, options.clock)

    def floor(self, layers: tuple[str, ...]) -> dict[str, Callable[[], float]]:
        """Return the two parts of the floor, for a teacher that gives out `layers`."""
        student_depth, teacher_depth = self.options.depths
        teacher = self.model(teacher_depth)
        outputs = [teacher.output, *(teacher.get_layer(n).output for n in layers)]
        options = self.options
        return {
            "teacher": timing.Inference(
                keras.Model(teacher.inputs, outputs),
                self.x,
                options.batch_size,
                options.clock,
            ),
            "student": self.training(self.model(student_depth), self.x),
        }

    def method(self, name: str) -> timing.Training:
        """Return the training step of a method."""
        student_depth, teacher_depth = self.options.depths
        method = keras_kd.losses.methods()[name]
        teacher: Any = self.model(teacher_depth)
        student = self.model(student_depth)
        if name == "simkd":
            student, _ = keras_kd.recipes.reuse_classifier(
                student, teacher, "stage_2", "stage_2"
            )
        inputs: dict[str, Any] = {"student_inputs": image}
        if method.signals == "nothing":
            teacher = None
        else:
            inputs["teacher_inputs"] = image
        distiller = keras_kd.Distiller(
            teacher,
            student,
            make_loss(name, EXAMPLES),
            [method.weight],
            method.student_loss_weight,
            distillation_weight=1.0,
            **inputs,
        )
        return self.training(distiller, {"image": self.x, "index": self.ids})


def measure(steps: Steps, names: list[str]) -> dict[str, dict[str, float]]:
    """Return the ratio to the floor of each method, by rounds."""
    ratios = {}
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if keras_kd.losses.methods()[name].signals == "nothing":
            key = ("nothing",)
        else:
            key = tuple(teacher_layers(name))
        groups.setdefault(key, []).append(name)
    for layers, members in groups.items():
        alone = layers == ("nothing",)
        for some in _batches(members):
            timers = steps.floor(() if alone else layers)
            timers |= {name: steps.method(name) for name in some}
            seconds = {
                name: np.array(figures)
                for name, figures in timing.interleaved(
                    timers, steps.options.rounds
                ).items()
            }
            floor = seconds["student"] + (0.0 if alone else seconds["teacher"])
            for name in some:
                ratios[name] = timing.summary(seconds[name] / floor)
                print(name, ratios[name], flush=True)
            keras.backend.clear_session()
    return ratios


def _batches(names: list[str]) -> list[list[str]]:
    return [names[i : i + AT_A_TIME] for i in range(0, len(names), AT_A_TIME)]


def arguments(*, steps: int = 1) -> argparse.Namespace:
    """Return the command line, with so many batches a round where none are given."""
    parser = argparse.ArgumentParser(description="Seconds per step of every method.")
    add = functools.partial(parser.add_argument, type=int)
    add("--rounds", default=7)
    add("--steps", default=steps, help="batches a round")
    add("--batch-size", default=32)
    add("--image-size", default=32)
    add("--widths", nargs="+", default=[64, 128, 256], help="of the stages")
    add("--depths", nargs=2, default=[2, 10], help="student's and teacher's")
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--clock", choices=list(timing.CLOCKS), default="wall")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, and write the figures."""
    options = arguments()
    keras.utils.set_random_seed(0)
    ratios = measure(Steps(options), options.methods or classifier_methods())
    print("\n| method | over the floor (quartiles) |\n|---|---:|")
    for name, ratio in sorted(ratios.items(), key=lambda item: item[1]["median"]):
        shown = "{median:.3f} ({low:.3f}–{high:.3f})".format(**ratio)
        print(f"| {name} | {shown} |")
    above = [name for name, ratio in ratios.items() if ratio["median"] > TARGET]
    print(
        f"{timing.BACKEND} on {timing.device_name()}, {options.clock} clock, "
        f"{timing.versions()}. Above {TARGET} x floor: {', '.join(above) or 'none'}."
    )
    if options.json:
        report = {
            "backend": timing.BACKEND,
            "device": timing.device_name(),
            "versions": timing.versions(),
            "options": {**vars(options), "json": str(options.json)},
            "ratios": ratios,
        }
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
