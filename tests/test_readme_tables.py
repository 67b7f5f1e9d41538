"""The tables of methods in README.md, written from the registry."""

import pathlib
import re

import pytest

from keras_kd import losses
from keras_kd.losses.registry import SIGNALS

README = pathlib.Path(__file__).parents[1] / "README.md"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def methods_by_signals():
    """Say how many methods there are, and which compare what."""
    rows = []
    for signals, what in SIGNALS.items():
        names = losses.methods(signals=signals)
        rows.append([what, " ".join(f"`{name}`" for name in names)])
    return (
        f'`keras_kd.losses.get("dkd")` makes any of {len(losses.methods())} published '
        "methods with its published settings;\n"
        "`keras_kd.losses.methods()` tells the paper, the weight and when to use each:"
        f"\n\n{table(['compares', 'methods'], rows)}"
    )


def all_methods():
    """Tell of each method what to use it for, its weights and its paper."""
    rows = [
        [
            f"`{name}`",
            f"`{method.make.__name__}`",
            method.when,
            f"{method.weight:g}",
            f"{method.student_loss_weight:g}",
            f"{method.warmup:.0%}" if method.warmup else "",
            "yes" if method.labels else "",
            method.paper,
        ]
        for name, method in losses.methods().items()
    ]
    head = ["name", "loss", "when", "weight", "task", "warm-up", "labels", "paper"]
    return (
        f"<details><summary>All {len(rows)}: when to use each, the published weights "
        "of the loss and of the task beside it, and the paper</summary>\n\n"
        f"{table(head, rows)}\n\n</details>"
    )


TABLES = {"methods by signals": methods_by_signals, "all methods": all_methods}


def block(name):
    """Match what stands between the comments of a table."""
    return re.compile(
        rf"(?<=<!-- {name}: python -m tests\.test_readme_tables -->\n).*?"
        rf"(?=\n<!-- end of {name} -->)",
        re.DOTALL,
    )


@pytest.mark.parametrize("name", TABLES)
def test_table_is_that_of_the_registry(name):
    """A method that README does not list is found by nobody; a stale weight is used."""
    found = block(name).search(README.read_text(encoding="utf-8"))
    assert found, f"README.md has no block {name!r}"
    assert found[0] == TABLES[name](), "run `python -m tests.test_readme_tables`"


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    for each, make in TABLES.items():
        text = block(each).sub(lambda _, make=make: make(), text)
    README.write_text(text, encoding="utf-8")
