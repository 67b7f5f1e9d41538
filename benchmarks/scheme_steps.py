"""What a step costs with several teachers, an averaged one, or peers.

    KERAS_BACKEND=jax python -m benchmarks.scheme_steps --clock cpu \\
        --json scheme-steps-jax.json

Models and options are those of `benchmarks.method_steps`, but a round has 8 batches by
default: each part begins an epoch of its own, and a floor with two such beginnings in
every step would be too high. Each training scheme is measured by turns with the parts
that it cannot do without:

- ensemble of 3: the student's own training step and three inferences of a teacher;
- moving average: the student's own training step and one inference of the student;
- mutual learning of 2: the training steps of two students, each by itself.

Two networks in one program need more temporary memory than each alone. On JAX's
processor backend glibc gives back what exceeds 32 MiB after every step, and its pages
are made anew in the next: two peers then cost up to 1.25 x their parts, with Keras
alone as with a Distiller. With MALLOC_MMAP_THRESHOLD_=1000000000 and
MALLOC_TRIM_THRESHOLD_=2000000000 it keeps them, and they cost 1.02.
"""

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_kd
from benchmarks import timing
from benchmarks.method_steps import Steps, arguments
from keras_kd import students, teachers

STEPS = 8
TARGETS = {"ensemble_of_3": 1.05, "moving_average": 1.05, "mutual_learning": 1.05}
Parts = dict[str, tuple[Callable[[], float], int]]


class SchemeSteps(Steps):
    """Makes each training scheme, and the parts that its floor adds up."""

    def student(self) -> keras.Model:
        """Return an untrained student."""
        return self.model(self.options.depths[0])

    def inference(self, model: keras.Model) -> timing.Inference:
        """Return the inference of a model on the batches."""
        options = self.options
        return timing.Inference(model, self.x, options.batch_size, options.clock)

    def ensemble_of_3(self) -> tuple[timing.Training, Parts]:
        """Return soft targets of three teachers."""
        members = [self.model(self.options.depths[1]) for _ in range(3)]
        distiller = keras_kd.Distiller(
            teachers.Ensemble(members, temperature=4.0),
            self.student(),
            keras_kd.LogitsDistillation(4.0),
        )
        own = self.training(self.student(), self.x)
        parts = {"student": (own, 1), "teacher": (self.inference(members[0]), 3)}
        return self.training(distiller, self.x), parts

    def moving_average(self) -> tuple[timing.Training, Parts]:
        """Return a student beside its average."""
        student = self.student()
        distiller = keras_kd.Distiller(
            teachers.MovingAverage(student), student, keras_kd.LogitsDistillation(1.0)
        )
        own = self.training(self.student(), self.x)
        parts = {"student": (own, 1), "average": (self.inference(self.student()), 1)}
        return self.training(distiller, self.x), parts

    def mutual_learning(self) -> tuple[timing.Training, Parts]:
        """Return two peers, the second deeper, with an optimizer each."""
        small, large = self.student(), self.model(self.options.depths[0] + 2)
        group = students.PeerGroup([small, large])
        distiller = keras_kd.Distiller(
            None, group, keras_kd.losses.MutualDistillation(), None, 1.0,
            distillation_weight=1.0,
        )  # fmt: skip
        together = self.training(distiller, self.x)
        distiller.compile(
            keras_kd.optimizers.PerPart(
                {f"peers[{place}]": keras.optimizers.Adam() for place in range(2)}
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        parts = {
            "small": (self.training(self.student(), self.x), 1),
            "large": (
                self.training(self.model(self.options.depths[0] + 2), self.x),
                1,
            ),
        }
        return together, parts


def measure(steps: SchemeSteps, name: str) -> dict[str, Any]:
    """Return the ratio to the floor of a training scheme, by rounds."""
    scheme, parts = getattr(steps, name)()
    timers = {"scheme": scheme, **{part: timer for part, (timer, _) in parts.items()}}
    figures = timing.interleaved(timers, steps.options.rounds)
    seconds = {part: np.array(values) for part, values in figures.items()}
    floor = sum(count * seconds[part] for part, (_, count) in parts.items())
    return timing.summary(seconds["scheme"] / floor)


def main() -> None:
    """Measure, print the table, and write the figures."""
    options = arguments(steps=STEPS)
    keras.utils.set_random_seed(0)
    steps = SchemeSteps(options)
    ratios = {}
    print("| training scheme | over its parts (quartiles) | target |\n|---|---:|---:|")
    for name, target in TARGETS.items():
        ratio = ratios[name] = measure(steps, name)
        shown = "{median:.3f} ({low:.3f}–{high:.3f})".format(**ratio)
        print(f"| {name} | {shown} | {target} |", flush=True)
        keras.backend.clear_session()
    print(
        f"{timing.BACKEND} on {timing.device_name()}, {options.clock} clock, "
        f"{timing.versions()}."
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
