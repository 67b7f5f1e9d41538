"""What the first training step of a Distiller takes: time, and memory at its highest.

    python -m benchmarks.first_step --backend jax

Before a Distiller trains it builds projectors and checks the first batch, and then the
step is compiled. Whoever waits for that, or runs out of memory, never sees the second
step. Compared are, each from models that are built and data that lie in memory:

- plain: `predict` of the teacher on the batch, then `compile` and `fit` of the student
  on it, as one does without a Distiller. Where features are compared, the teacher gives
  them out beside its logits and the student has the projectors, as in
  `benchmarks.step`: the least that these losses need.
- keras_kd: construction, `compile` and `fit` of `keras_kd.Distiller` on the batch.
- peer: the same of `keras.distillation.Distiller`, with the loss that makes it right.
  It cannot map one width to another, and has no row there.

The losses are one on the logits, or three on stages that are projected from the width
of the student (32) to that of the teacher (64). Batches hold 256 images of 32×32×3.

Each measurement is a process of its own, since what was compiled or allocated once is
there for whoever comes second; contenders take turns, so that what disturbs the machine
for a while meets all of them. The time is that of the processor or of the wall. The
memory is the operating system's: the highest resident size (VmHWM, set back before)
over the resident size just before. Reported is the median over the rounds of the ratio
to the plain run of the same round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

TARGETS = {"seconds": 1.25, "mebibytes": 1.15}
CONTENDERS = {
    "logits": ("plain", "keras_kd", "peer"),
    "three projected features": ("plain", "keras_kd"),
}
RESULTS = Path(__file__).parent / "results"
STAGES = 3


class Memory:
    """The highest resident size of this process since its making."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._before = self._read("VmRSS")
        except OSError:
            # Some kernels do not let the mark be set back. It then hides a peak below
            # that of the making of the models, and never one above it.
            self._before = self._read("VmHWM")

    def mebibytes(self) -> float:
        """Return by how much the size at its highest exceeded that at the start."""
        return self._read("VmHWM") - self._before

    @staticmethod
    def _read(name: str) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise OSError(f"/proc/self/status must have a line {name}. Received: none.")


def measure(case: str, contender: str, options: argparse.Namespace) -> dict[str, Any]:
    """Take one first step in this process; return its time and memory."""
    import keras
    import numpy as np

    import keras_kd
    from benchmarks import timing
    from benchmarks.convnets import CLASSES, WithProjectors, convnet, stage_names
    from benchmarks.step import TEMPERATURE, stock_logits

    keras.utils.set_random_seed(0)
    features = case != "logits"
    widths = {"teacher": [options.width] * STAGES}
    widths["student"] = [width // 2 for width in widths["teacher"]]
    teacher, student = (
        convnet(options.image_size, widths[side], options.depth, name=side)
        for side in ("teacher", "student")
    )
    names = stage_names(widths["teacher"])
    if contender == "plain" and features:
        stages = [teacher.get_layer(name).output for name in names]
        teacher = keras.Model(teacher.inputs, [teacher.output, *stages])
        student = WithProjectors(student, widths["teacher"])
    random = np.random.default_rng(0)
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    x = random.standard_normal(shape, dtype="float32")
    y = random.integers(0, CLASSES, options.batch_size)

    memory, clock = Memory(), timing.CLOCKS[options.clock]
    start = clock()
    if contender == "plain":
        kept = teacher.predict(x, options.batch_size, verbose=0)
        model: keras.Model = student
    else:
        kept = None
        losses: list[Any] = []
        if features:
            losses += [
                keras_kd.FeatureDistillation("mse", name, name) for name in names
            ]
        elif contender == "peer":
            losses += [stock_logits()]
        else:
            losses += [keras_kd.LogitsDistillation(temperature=TEMPERATURE)]
        library = keras.distillation if contender == "peer" else keras_kd
        model = library.Distiller(teacher, student, losses)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(x, y, batch_size=options.batch_size, verbose=0)
    timing.finish([variable.value for variable in model.trainable_variables])
    seconds = clock() - start
    del kept  # the targets of a step have to lie somewhere until it is over
    return {
        "seconds": seconds,
        "mebibytes": memory.mebibytes(),
        "device": timing.device_name(),
        "versions": timing.versions(),
    }


def in_a_process(
    case: str, contender: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what `measure` gives in a process that has compiled nothing yet."""
    command = [sys.executable, "-m", "benchmarks.first_step", *sys.argv[1:]]
    environment = {**os.environ, "KERAS_BACKEND": options.backend}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [*command, "--one", case, contender],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def rounds_of(case: str, options: argparse.Namespace) -> dict[str, list[Any]]:
    """Return the measurements of each contender, one a round, taken in turns."""
    names = CONTENDERS[case]
    taken: dict[str, list[Any]] = {name: [] for name in names}
    for number in range(options.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(in_a_process(case, name, options))
            print(case, name, taken[name][-1], file=sys.stderr, flush=True)
    return taken


def summary(taken: dict[str, list[Any]]) -> dict[str, Any]:
    """Return medians, and median ratios to the plain run of the same round."""
    found: dict[str, Any] = {}
    for name, runs in taken.items():
        found[name] = {}
        for unit in TARGETS:
            ratios = [
                run[unit] / plain[unit]
                for run, plain in zip(runs, taken["plain"], strict=True)
            ]
            found[name][unit] = statistics.median(run[unit] for run in runs)
            found[name][f"{unit} / plain"] = statistics.median(ratios)
            found[name][f"{unit} / plain, by round"] = ratios
    return found


def table(results: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| losses | | s | over plain | MiB | over plain |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for case, result in results.items():
        for name, row in result.items():
            lines.append(
                f"| {case} | {name} | {row['seconds']:.2f} | "
                f"{row['seconds / plain']:.2f} | {row['mebibytes']:.0f} | "
                f"{row['mebibytes / plain']:.2f} |"
            )
    return "\n".join(lines)


def verdict(results: dict[str, Any]) -> str:
    """Say in a line whether the targets hold in all cases."""
    parts = []
    for unit, target in TARGETS.items():
        worst = max(
            result["keras_kd"][f"{unit} / plain"] for result in results.values()
        )
        holds = "yes" if worst <= target else "NO"
        parts.append(f"{unit} <= {target} x plain: {holds} (worst {worst:.2f})")
    return "; ".join(parts) + "."


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description="Time and memory to the first step, beside plain Keras."
    )
    parser.add_argument(
        "--backend",
        choices=["jax", "tensorflow", "torch"],
        default=os.environ.get("KERAS_BACKEND", "jax"),
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--width", type=int, default=64, help="of the teacher")
    parser.add_argument("--depth", type=int, default=2, help="convolutions a stage")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument(
        "--quick", action="store_true", help="one round of small batches: does it run?"
    )
    parser.add_argument(
        "--json", type=Path, help="where to write all figures; by default to results/"
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.batch_size, options.image_size = 1, 16, 16
    elif options.json is None:
        options.json = RESULTS / f"first-step-{options.backend}.json"
    return options


def main() -> None:
    """Measure, print the table, and write the figures."""
    options = arguments()
    if options.one:
        print(json.dumps(measure(*options.one, options)))
        return
    taken = {case: rounds_of(case, options) for case in CONTENDERS}
    results = {case: summary(runs) for case, runs in taken.items()}
    example = taken["logits"]["plain"][0]
    print(
        f"{options.backend} on {example['device']}, {options.clock} clock, "
        f"{example['versions']}"
    )
    print(f"{table(results)}\n{verdict(results)}")
    if options.json:
        report = {
            "backend": options.backend,
            "device": example["device"],
            "versions": example["versions"],
            "options": {**vars(options), "json": options.json.name, "one": None},
            "results": results,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
