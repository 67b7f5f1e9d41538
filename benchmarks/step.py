"""What a training step of `keras_kd.Distiller` costs beside the least it could.

    KERAS_BACKEND=jax python -m benchmarks.step --json step-jax.json

The floor is the teacher's inference, as `predict` compiles it, plus the student's own
training step in `fit`, with the same task loss and optimizer. Where features are
compared, the teacher of the floor gives them out beside its logits, and its student has
the projectors; the comparison itself is in no part of the floor. The peer is
`keras.distillation.Distiller`, repaired by an explicit `KLDivergence` loss; it cannot
map one width to another.

The sizes are those of the pair that most papers report on CIFAR, resnet32x4 as the
teacher of resnet8x4 (Tian et al., 2020, arXiv:1910.10699): stages of 10 and of 2
convolutions, 64, 128 and 256 wide. Where features are projected the student is half as
wide. The small student is of a size that fits a phone: three stages of 2 convolutions,
16 channels beside the teacher's 32, on batches of 64 images of 28×28. What a step costs
beside its arithmetic weighs most there.

All contenders train on the same batches, in one process, by turns. The headline is the
ratio to the floor of the same round; the floor measured against a second copy of itself
is the noise.
"""

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks import timing
from benchmarks.convnets import CLASSES, WithProjectors, convnet, stage_names

TARGET = 1.05
TEMPERATURE = 2.0


def stock_logits() -> Any:
    """Return the stock's loss on logits, with the loss that makes it right."""
    return keras.distillation.LogitsDistillation(
        temperature=TEMPERATURE, loss=keras.losses.KLDivergence()
    )


class Case:
    """One pair of models and one list of losses, for each contender anew.

    Args:
        options: The command line, or `small`: it holds all sizes of the teacher.
        student_widths: The widths of the student's stages.
        features: Whether each stage is compared, beside the logits.
    """

    def __init__(
        self, options: argparse.Namespace, student_widths: Sequence[int], features: bool
    ) -> None:
        self.options = options
        self.student_widths = student_widths
        self.features = features
        self.projects = features and list(student_widths) != list(options.widths)
        rng = np.random.default_rng(0)
        count = options.batch_size * options.steps
        shape = (count, options.image_size, options.image_size, 3)
        self.x = rng.standard_normal(shape, dtype="float32")
        self.y = rng.integers(0, CLASSES, count)

    def teacher(self) -> keras.Model:
        """Return a teacher; the stock changes its flags, so nobody shares one."""
        size, widths = self.options.image_size, self.options.widths
        return convnet(size, widths, self.options.depths[1], name="teacher")

    def bare_teacher(self) -> keras.Model:
        """Return a teacher that gives out all that the losses compare."""
        teacher = self.teacher()
        if not self.features:
            return teacher
        stages = [
            teacher.get_layer(name).output for name in stage_names(self.options.widths)
        ]
        return keras.Model(teacher.inputs, [teacher.output, *stages])

    def student(self) -> keras.Model:
        """Return a student."""
        size, widths = self.options.image_size, self.student_widths
        return convnet(size, widths, self.options.depths[0], name="student")

    def training(self, model: keras.Model) -> timing.Training:
        """Compile `model` as all contenders are compiled."""
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        options = self.options
        return timing.Training(model, self.x, self.y, options.batch_size, options.clock)

    def distiller(self, library: Any, logits: Any) -> timing.Training:
        """Return the Distiller of a library that has the stock's interface."""
        losses = [logits]
        if self.features:
            losses += [
                library.FeatureDistillation("mse", name, name)
                for name in stage_names(self.student_widths)
            ]
        return self.training(library.Distiller(self.teacher(), self.student(), losses))

    def timers(self) -> dict[str, Callable[[], float]]:
        """Return what to measure, by name."""
        timers: dict[str, Callable[[], float]] = {}
        for copy in "ab":
            student = self.student()
            if self.projects:
                student = WithProjectors(student, self.options.widths)
            timers[f"teacher {copy}"] = timing.Inference(
                self.bare_teacher(), self.x, self.options.batch_size, self.options.clock
            )
            timers[f"student {copy}"] = self.training(student)
        timers["keras_kd"] = self.distiller(
            keras_kd, keras_kd.LogitsDistillation(temperature=TEMPERATURE)
        )
        if not self.projects:
            timers["peer"] = self.distiller(keras.distillation, stock_logits())
        return timers


def small(options: argparse.Namespace) -> argparse.Namespace:
    """Return the command line with the sizes of the small teacher."""
    sizes = {"image_size": 28, "widths": [32] * 3, "depths": [2, 2], "batch_size": 64}
    if options.quick:
        sizes = {"widths": [16] * 3}
    return argparse.Namespace(**{**vars(options), **sizes})


def measure(case: Case) -> dict[str, Any]:
    """Return seconds per step and ratios to the floor, with all rounds."""
    seconds = timing.interleaved(case.timers(), case.options.rounds)
    rounds = {name: np.array(figures) for name, figures in seconds.items()}
    floors = {
        copy: rounds[f"teacher {copy}"] + rounds[f"student {copy}"] for copy in "ab"
    }
    floor = (floors["a"] + floors["b"]) / 2
    contenders = {"keras_kd": rounds["keras_kd"]}
    if "peer" in rounds:
        contenders["peer"] = rounds["peer"]
    return {
        "seconds": {
            "teacher": timing.summary(rounds["teacher a"]),
            "student": timing.summary(rounds["student a"]),
            "floor": timing.summary(floor),
            **{name: timing.summary(values) for name, values in contenders.items()},
        },
        "ratio_to_floor": {
            "floor, second copy": timing.summary(floors["b"] / floors["a"]),
            **{
                name: timing.summary(values / floor)
                for name, values in contenders.items()
            },
        },
        "keras_kd / peer": timing.summary(rounds["keras_kd"] / rounds["peer"])
        if "peer" in rounds
        else None,
        "rounds": seconds,
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| case | | ms/step | ratio to the floor (quartiles) |",
        "|---|---|---:|---:|",
    ]
    for case, result in results.items():
        ratios = result["ratio_to_floor"]
        for name, seconds in result["seconds"].items():
            ratio = ratios.get("floor, second copy" if name == "floor" else name)
            shown = ratio and "{median:.3f} ({low:.3f}–{high:.3f})".format(**ratio)
            if name == "floor":
                shown = f"second copy: {shown}"
            lines.append(
                f"| {case} | {name} | {1e3 * seconds['median']:.1f} | {shown or ''} |"
            )
    return "\n".join(lines)


def verdict(results: dict[str, dict[str, Any]]) -> str:
    """Say in a line whether the targets hold.

    Slower than the peer means slower in three quarters of the rounds.
    """
    worst = max(r["ratio_to_floor"]["keras_kd"]["median"] for r in results.values())
    peers = [r["keras_kd / peer"] for r in results.values() if r["keras_kd / peer"]]
    slower = any(peer["low"] > 1 for peer in peers)
    ratios = ", ".join(
        "{median:.3f} ({low:.3f}–{high:.3f})".format(**peer) for peer in peers
    )
    return (
        f"Distiller <= {TARGET} x floor: {'yes' if worst <= TARGET else 'NO'} "
        f"(worst {worst:.3f}); slower than the repaired peer: "
        f"{'YES' if slower else 'no'} (over the peer, by round: {ratios})."
    )


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Seconds per training step, beside the floor and the peer."
    )
    add = functools.partial(parser.add_argument, type=int)
    add("--rounds", default=11)
    add("--steps", default=2, help="batches a round")
    add("--batch-size", default=32)
    add("--image-size", default=32)
    add("--widths", nargs="+", default=[64, 128, 256], help="of the teacher's stages")
    add("--depths", nargs=2, default=[2, 10], help="student's and teacher's")
    parser.add_argument(
        "--clock",
        choices=list(timing.CLOCKS),
        default="wall",
        help="cpu: processor time, for a processor that others use too",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one step of tiny models: does it run?"
    )
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.steps, options.batch_size = 1, 1, 8
        options.image_size, options.widths, options.depths = 8, [8, 16, 16], [1, 1]
    return options


def main() -> None:
    """Measure, print the table, and write the figures."""
    options = arguments()
    keras.utils.set_random_seed(0)
    same = options.widths
    narrower = [width // 2 for width in same]
    cases = {
        "logits": Case(options, same, features=False),
        "logits + features": Case(options, same, features=True),
        "logits + projected features": Case(options, narrower, features=True),
        "logits, small student": Case(small(options), [16] * 3, features=False),
    }
    results = {}
    for name, case in cases.items():
        results[name] = measure(case)
        keras.backend.clear_session()
    print(
        f"{timing.BACKEND} on {timing.device_name()}, {options.clock} clock, "
        f"{timing.versions()}"
    )
    print(f"{table(results)}\n{verdict(results)}")
    if options.json:
        report = {
            "backend": timing.BACKEND,
            "device": timing.device_name(),
            "versions": timing.versions(),
            "options": {**vars(options), "json": str(options.json)},
            "results": results,
        }
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
