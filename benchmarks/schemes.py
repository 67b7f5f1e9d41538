"""Every way to have a teacher, on real images: accuracy over three seeds.

    KERAS_BACKEND=jax python -m benchmarks.schemes --folder results

The protocol is that of `benchmarks.methods`: Fashion-MNIST, a student that sees 4,000
images, teachers that saw 50,000, 20 epochs of batches of 64, Adam at 0.005 with a
cosine decay, the last epoch. It was fixed before the first run, and so were all
weights; where a row was added because another had failed, its note says so. What
crosses modalities, tasks and domains uses emoji, for 40 epochs, and spoken prompts.

The cost of a row is the arithmetic of the steps of all networks that train for it, over
that of a student that learns alone for 20 epochs. Beside each row stand the student
alone and plain distillation from the one teacher for 1, 2 or 4 times the epochs, the
next at hand to its cost. Families that have another task than the whole set of labelled
images have their own two, named in the table.

Finished runs are kept in the folder: the same command goes on where it stopped, and
several of them may share the work. `--rows` runs some rows alone.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy import stats

from benchmarks import (
    schemes_across,
    schemes_heads,
    schemes_images,
    schemes_oneself,
    schemes_shared,
    schemes_sound,
    timing,
)
from benchmarks.schemes_setup import SEEDS, Scheme, Setup

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        *schemes_images.SCHEMES,
        *schemes_oneself.SCHEMES,
        *schemes_shared.SCHEMES,
        *schemes_across.SCHEMES,
        *schemes_heads.SCHEMES,
        *schemes_sound.SCHEMES,
    )
}
FAMILIES = (
    "ensembles",
    "oneself",
    "peers",
    "phases",
    "two momenta",
    "continual",
    "private",
    "across",
)
SINGLE_TEACHERS = ("kd", "kd_teacher_1", "kd_teacher_2")
# Claims of the field, each a difference of two figures in the same seeds.
CLAIMS = (
    *(
        (f"{name}, over the best single teacher", (name, "test"), None)
        for name in (
            "ensemble_of_3",
            "ensemble_by_confidence",
            "features_by_confidence",
            "teacher_dropping",
        )
    ),
    *(
        (f"{name}, over generation 0", (name, "test"), (name, "generation 0"))
        for name in ("born_again", "born_again_soft", "born_again_unlabelled")
    ),
    *(
        (f"mutual_learning, {peer}, over alone", ("mutual_learning", key), other)
        for peer, key in (("one peer", "test"), ("the other", "the other"))
        for other in (("alone", "test"),)
    ),
)


def result(
    scheme: Scheme, seed: int, folder: Path, setup: Callable[[], Setup]
) -> dict[str, float]:
    """Return a run, made now where it is not yet there."""
    path = folder / "runs" / f"{scheme.name}-{seed}.json"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        found = scheme.run(setup(), seed, folder / "stages" / f"{scheme.name}-{seed}")
        found = found if isinstance(found, dict) else {"test": found}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.rename(path)
        print(scheme.name, seed, found, flush=True)
        keras.backend.clear_session()
    return dict(json.loads(path.read_text()))


def _cell(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def _gain(gain: np.ndarray) -> tuple[str, str]:
    """Return a mean difference with its 95 % interval, and whether it is above 0.

    The interval is that of Student's t: three seeds have 4.3 standard errors, not 2.
    """
    error = gain.std(ddof=1) / math.sqrt(len(gain))
    half = error * stats.t.ppf(0.975, len(gain) - 1)
    verdict = "yes" if gain.mean() > half else "within noise"
    return (
        f"{gain.mean():+.2f} ± {half:.2f}",
        "no: below" if gain.mean() < -half else verdict,
    )


def _figures(runs: dict[str, Any], row: str, key: str = "test") -> np.ndarray:
    return np.array([run[key] for run in runs[row]])


def _claims(runs: dict[str, Any]) -> list[str]:
    """Return what the field says of some rows, and whether it holds here."""
    lines = ["| claim | difference | beyond noise |", "|---|---:|---|"]
    best = [name for name in SINGLE_TEACHERS if name in runs]
    best.sort(key=lambda name: -_figures(runs, name).mean())
    for text, (row, key), other in CLAIMS:
        against, of = other or (best[0] if best else "", "test")
        if row in runs and against in runs:
            gain = _figures(runs, row, key) - _figures(runs, against, of)
            lines.append("| {} | {} | {} |".format(text, *_gain(gain)))
    return lines


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Return the results as Markdown: a table by families, claims, and notes."""
    lines = [
        "| family | training scheme | cost | test (%) | alone | plain KD | over alone "
        "| over KD |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    unclear, hints, notes = [], [], []
    shown_rows = [name for name in runs if not SCHEMES[name].reference]
    rows = sorted(shown_rows, key=lambda name: FAMILIES.index(SCHEMES[name].family))
    for name in rows:
        scheme = SCHEMES[name]
        test = _figures(runs, name)
        cells, gains = [], []
        for other in (scheme.alone, scheme.taught):
            if other is None or other not in runs or other == name:
                cells.append("")
                gains.append("")
                continue
            against = _figures(runs, other)
            cost = SCHEMES[other].cost
            cells.append(f"{_cell(against)} (×{cost:g})")
            shown, above = _gain(test - against)
            gains.append(shown)
            if other == scheme.alone and above != "yes":
                unclear.append(name)
        lines.append(
            f"| {scheme.family} | {name} | {scheme.cost:g} | {_cell(test)} | "
            f"{cells[0]} | {cells[1]} | {gains[0]} | {gains[1]} |"
        )
        extra = {
            key: np.mean([run[key] for run in runs[name]])
            for key in runs[name][0]
            if key != "test"
        }
        if extra:
            shown = ", ".join(f"{key} {value:.2f}" for key, value in extra.items())
            hints.append(f"- {name}: {shown}")
        if scheme.note:
            notes.append(f"- {name}: {scheme.note}")
    return "\n".join(
        [
            *lines,
            "",
            f"Mean ± standard deviation over {len(SEEDS)} seeds, last epoch; "
            "differences with their 95 % interval (Student's t), paired by seed. "
            "Behind alone and plain KD stands their cost. Not better than alone beyond "
            "that interval: "
            f"{', '.join(unclear) or 'none'}.",
            "",
            *_claims(runs),
            "",
            *hints,
            "",
            *notes,
            "",
            f"`KERAS_BACKEND={timing.BACKEND} python -m benchmarks.schemes`; "
            f"{timing.versions()}; all runs: schemes.json.",
            "",
        ]
    )


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description="Accuracy of every training scheme.")
    parser.add_argument("--folder", type=Path, default=Path("results"))
    parser.add_argument("--rows", nargs="+", choices=list(SCHEMES))
    parser.add_argument("--backwards", action="store_true", help="the last row first")
    parser.add_argument(
        "--table", action="store_true", help="run nothing, show what is finished"
    )
    options = parser.parse_args()
    folder = options.folder / "schemes"
    made: list[Setup] = []

    def setup() -> Setup:
        if not made:
            made.append(Setup(options.folder))
        return made[0]

    names = list(options.rows or SCHEMES)
    if options.table:
        done = {path.stem for path in (folder / "runs").glob("*.json")}
        names = [n for n in names if {f"{n}-{seed}" for seed in SEEDS} <= done]
    # One seed of all rows before the next: what is cut short is still a table.
    for seed in SEEDS:
        for name in names[::-1] if options.backwards else names:
            result(SCHEMES[name], seed, folder, setup)
    if options.rows:
        return
    runs = {n: [result(SCHEMES[n], s, folder, setup) for s in SEEDS] for n in names}
    left = [n for n in SCHEMES if n not in runs]
    text = table(runs) + (f"\nNot yet run: {', '.join(left)}.\n" if left else "")
    print(text)
    (options.folder / "schemes.md").write_text(text)
    report = {"backend": timing.BACKEND, "versions": timing.versions(), "runs": runs}
    (options.folder / "schemes.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
