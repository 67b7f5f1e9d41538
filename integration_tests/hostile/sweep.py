"""Every loss with every defect: a clear error, or the right value and gradient.

    KERAS_BACKEND=torch python -m integration_tests.hostile.sweep --count 500

A case is a method, a defect and whether the step is compiled. Its outcome is

- right: one of those that `defects` says, a sound step's value and gradient among them;
- unclear: an error that does not say what is wrong and what to do about it;
- silent: a value where an error was due, another value than the right one, or one
  that is not finite.

An error is clear if it is a ValueError whose message names an argument in backticks,
the loss or the side, shows what was received ("Received:", or the values or shapes),
and says what to do or what must be.
"""

import argparse
import collections
import inspect
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from integration_tests.hostile.defects import DEFECTS
from integration_tests.hostile.probe import METHODS, Outcome, Setup, run
from keras_kd import losses

ARGUMENT = re.compile(r"_(nan|inf|'4'|\[1\.0\]|-1\.0)$")
RECEIVED = re.compile(r"Received:|Got |shapes? \(|shape=|\(\d+,")
ADVICE = re.compile(
    r"must|needs?\b|[Cc]heck|[Gg]ive|[Pp]ass|[Uu]se\b|[Ss]et\b|[Rr]emove|[Ll]eave"
)


def applies(method: str, defect: str) -> bool:
    """Say whether the loss of a method has the argument that a defect is about."""
    if not ARGUMENT.search(defect):
        return True
    made: Any = losses.methods()[method].make
    return defect.split("_")[0] in inspect.signature(made).parameters


def cases() -> list[tuple[str, str, bool]]:
    """List all cases in a fixed order."""
    eager = [True] if keras.config.backend() == "torch" else [True, False]
    return [
        (method, defect, mode)
        for method in METHODS
        for defect in DEFECTS
        if applies(method, defect)
        for mode in eager
    ]


def is_clear(error: Exception, method: str) -> bool:
    """Judge an error by the rule above."""
    text = str(error)
    made: Any = losses.methods()[method].make
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", made.__name__).lower()
    named = any(word in text for word in (made.__name__, snake, method))
    names = named or re.search(r"`[\w.]+`|[Tt]he (teacher|student)\b", text)
    return bool(
        isinstance(error, ValueError)
        and names
        and RECEIVED.search(text)
        and ADVICE.search(text)
    )


def judge(method: str, defect: str, eager: bool) -> tuple[str, str]:
    """Return "right", "unclear" or "silent", and what was seen."""
    setup = Setup(method, eager)
    allowed = DEFECTS[defect](setup)
    outcome = run(setup)
    if outcome.error is not None:
        seen = f"{type(outcome.error).__name__}: {outcome.error}"[:400]
        if "error" not in allowed:
            return "unclear", f"refused what is sound: {seen}"
        return ("right" if is_clear(outcome.error, method) else "unclear"), seen
    return _judge_value(outcome, allowed)


def _judge_value(outcome: Outcome, allowed: tuple[Any, ...]) -> tuple[str, str]:
    if "finite" in allowed and outcome.finite:
        return "right", f"{outcome.value:.6g}"
    for sound in allowed:
        if isinstance(sound, Setup):
            wanted = run(sound)
            if wanted.error is None and outcome.equals(wanted):
                return "right", f"{outcome.value:.6g}"
    return "silent", f"value {outcome.value:.6g}, all finite: {outcome.finite}"


def main() -> None:
    """Run the cases, print those that are not right, and count."""
    parser = argparse.ArgumentParser(description="Losses with hostile inputs.")
    parser.add_argument("--count", type=int, help="a sample of so many cases")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="part of the names of the cases")
    parser.add_argument("--json", type=Path, help="where to write all outcomes")
    options = parser.parse_args()
    # A loss on one layer leaves the layers after it without gradients.
    warnings.filterwarnings("ignore", "Gradients do not exist")
    chosen = [case for case in cases() if options.only in "/".join(case[:2])]
    if options.count:
        order = np.random.default_rng(options.seed).permutation(len(chosen))
        chosen = [chosen[place] for place in order[: options.count]]
    found, outcomes = collections.Counter[str](), []
    for method, defect, eager in chosen:
        verdict, seen = judge(method, defect, eager)
        found[verdict] += 1
        mode = "eager" if eager else "compiled"
        outcomes.append((method, defect, mode, verdict, seen))
        if verdict != "right":
            print(method, defect, mode, verdict, seen.replace("\n", " "), sep=" | ")
        if keras.config.backend() != "torch" and len(outcomes) % 100 == 0:
            keras.backend.clear_session()
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1) + "\n")
    print(f"{keras.config.backend()}: {len(chosen)} cases, {dict(found)}")
    sys.exit(len(chosen) != found["right"])


if __name__ == "__main__":
    main()
