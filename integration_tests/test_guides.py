"""Every guide runs from beginning to end, and its notebook says the same.

GUIDE_BACKENDS chooses where: "rotate" gives each guide one backend in turn, "all" gives
it all three. Unset, guides run on the active backend.
"""

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import keras
import pytest

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("jax", "tensorflow", "torch")
GUIDES = sorted((ROOT / "guides").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "guides").glob("*.ipynb"))

# What the demo shows with more seeds is the same; one is enough to see that it runs.
ARGUMENTS = {"demo": ["--seeds", "1"]}
SECONDS = 600
# These fetch their data from package registries, by these programs.
WITH_DATA = {"pictures_words_and_sounds": ("benchmarks.emoji", "benchmarks.prompts")}


def backends_for(position: int) -> tuple[str, ...]:
    choice = os.environ.get("GUIDE_BACKENDS")
    if choice is None:
        return (keras.config.backend(),)
    if choice == "all":
        return BACKENDS
    if choice == "rotate":
        return (BACKENDS[position % len(BACKENDS)],)
    raise ValueError(
        f"GUIDE_BACKENDS must be 'rotate', 'all' or unset. Received: {choice!r}"
    )


RUNS = [
    pytest.param(
        guide,
        backend,
        id=f"{guide.stem}-{backend}",
        marks=[pytest.mark.data] if guide.stem in WITH_DATA else [],
    )
    for position, guide in enumerate(GUIDES)
    for backend in backends_for(position)
]


@pytest.mark.slow
@pytest.mark.parametrize(("guide", "backend"), RUNS)
def test_guide_runs(guide, backend, tmp_path):
    for program in WITH_DATA.get(guide.stem, ()):
        fetched = subprocess.run(
            [sys.executable, "-m", program], cwd=ROOT, capture_output=True, text=True
        )
        if "must be at hand" in fetched.stderr:
            pytest.skip(f"no registry of packages can be reached: {fetched.stderr}")
        assert fetched.returncode == 0, fetched.stderr
    done = subprocess.run(
        [sys.executable, str(guide), *ARGUMENTS.get(guide.stem, [])],
        # A guide may write files; those do not belong in the repository.
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": backend, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_says_what_its_guide_says(notebook):
    def cells(path):
        return [
            (cell.cell_type, cell.source.strip()) for cell in jupytext.read(path).cells
        ]

    assert cells(notebook) == cells(notebook.with_suffix(".py")), (
        f"Make it anew: jupytext --to ipynb {notebook.with_suffix('.py').name}"
    )
    assert not any(cell.get("outputs") for cell in jupytext.read(notebook).cells)


def test_a_method_of_ones_own_stays_short():
    """The guide promises a new method in under 25 lines."""
    cells = jupytext.read(ROOT / "guides" / "your_own_method.py").cells
    (method,) = [c.source for c in cells if "class PairwiseSimilarity" in c.source]
    assert len([line for line in method.splitlines() if line.strip()]) < 25
