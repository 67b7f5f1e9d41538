"""Every way to have a teacher, on real images: accuracy over three seeds.

    KERAS_BACKEND=jax python -m benchmarks.regimes --folder results

The protocol, fixed before the first run, is that of `benchmarks.methods`:
Fashion-MNIST, a student that sees 4,000 images, teachers that saw 50,000, 20 epochs of
batches of 64,
Adam at 0.005 with a cosine decay, the last epoch, no weight tuned. What crosses
modalities, tasks and domains uses the emoji, for 40 epochs.

The cost of a row is the number of images that its students went forward and backward
through, over that of a student that learns alone for 20 epochs. Beside each row stand
the student alone and plain distillation from the one teacher at the same cost, that is
for so many times more epochs. Families that have another task than the whole set of
labelled images have their own two, named in the table.

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

from benchmarks import regimes_across, regimes_images, regimes_shared
from benchmarks.regimes_setup import SEEDS, Regime, Setup

REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        *regimes_images.REGIMES,
        *regimes_shared.REGIMES,
        *regimes_across.REGIMES,
    )
}


def result(
    regime: Regime, seed: int, folder: Path, setup: Callable[[], Setup]
) -> dict[str, float]:
    """Return a run, made now where it is not yet there."""
    path = folder / "runs" / f"{regime.name}-{seed}.json"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        found = regime.run(setup(), seed, folder / "stages" / f"{regime.name}-{seed}")
        found = found if isinstance(found, dict) else {"test": found}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.rename(path)
        print(regime.name, seed, found, flush=True)
        keras.backend.clear_session()
    return dict(json.loads(path.read_text()))


def _cell(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def _unfinished(runs: dict[str, Any]) -> list[str]:
    """Return a line that names the rows that have not been run, if there are any."""
    left = [name for name, r in REGIMES.items() if name not in runs and not r.reference]
    return [f"Not yet run: {', '.join(left)}."] if left else []


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Return the results as a Markdown table, family by family."""
    lines = [
        "| family | regime | cost | test (%) | alone at this cost | plain KD at this "
        "cost | over alone | over KD |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    notes, hints = [], []
    for name, regime in REGIMES.items():
        if name not in runs or regime.reference:
            continue
        test = np.array([run["test"] for run in runs[name]])
        cells, gains = [], []
        for other in (regime.alone, regime.taught):
            if other is None or other not in runs:
                cells.append("")
                gains.append("")
                continue
            against = np.array([run["test"] for run in runs[other]])
            gain = test - against
            error = gain.std(ddof=1) / math.sqrt(len(gain))
            cells.append(_cell(against))
            gains.append(f"{gain.mean():+.2f} ± {error:.2f}")
            if other == regime.alone and gain.mean() < 2 * error:
                notes.append(name)
        lines.append(
            f"| {regime.family} | {name} | {regime.cost:g} | {_cell(test)} | "
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
    text = [
        *lines,
        "",
        f"Mean ± standard deviation over {len(SEEDS)} seeds, last epoch; differences ± "
        "standard error, paired by seed. Not better than alone by two standard errors: "
        f"{', '.join(notes) or 'none'}.",
        *_unfinished(runs),
        "",
        *hints,
        "",
        *(
            f"- {name}: {regime.note}"
            for name, regime in REGIMES.items()
            if regime.note and name in runs
        ),
    ]
    return "\n".join(text).rstrip() + "\n"


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description="Accuracy of every regime.")
    parser.add_argument("--folder", type=Path, default=Path("results"))
    parser.add_argument("--rows", nargs="+", choices=list(REGIMES))
    parser.add_argument("--backwards", action="store_true", help="the last row first")
    parser.add_argument(
        "--table", action="store_true", help="run nothing, show what is finished"
    )
    options = parser.parse_args()
    folder = options.folder / "regimes"
    made: list[Setup] = []

    def setup() -> Setup:
        if not made:
            made.append(Setup(options.folder))
        return made[0]

    names = list(options.rows or REGIMES)
    runs: dict[str, Any] = {}
    if options.table:
        done = {path.stem for path in (folder / "runs").glob("*.json")}
        names = [n for n in names if {f"{n}-{seed}" for seed in SEEDS} <= done]
    for name in names[::-1] if options.backwards else names:
        runs[name] = [result(REGIMES[name], s, folder, setup) for s in SEEDS]
    if options.rows:
        return
    text = table(runs)
    print(text)
    (options.folder / "regimes.md").write_text(text)


if __name__ == "__main__":
    main()
