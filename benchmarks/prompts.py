"""Real speech: the spoken prompts of a telephone exchange, and what each is called.

    python -m benchmarks.prompts

568 recordings at 8 kHz of one speaker, Allison Smith (CC-BY-SA-3.0), from Debian's
package `asterisk-core-sounds-en-wav`. The package has no transcript: the label text of
a prompt is the name of its file. What stands in front of the name says what the prompt
is for, and is the label; the rest is close to what is said.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
import wave
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import CACHE, unpack_debian_package

PACKAGE = "asterisk-core-sounds-en-wav"
FOLDER = "asterisk-prompts"
# sha256 of the names and the recordings: the packages differ in how they compress them.
DIGEST = "c699b9a2470b9ce8bd696550563d138e38e53ee0eaa900a1977a220d022bcb90"

# What the front of a path stands for. Some fronts are spelt as codes in the rest, too.
FRONTS = {
    "numbers": r"digits/(h-)?",
    "spelling": r"letters/|phonetic/",
    "conference": r"confbridge-(conf-)?|conf-",
    "voicemail": r"vm-",
    "the rest": r"(\w+/|(agent|auth|demo|dir|pbx|pm|priv|privacy|queue|spy|ss|tt)-)?",
}
GROUPS = tuple(FRONTS)

RATE, SECONDS = 8_000, 2.0
WINDOW, HOP, BANDS = 256, 200, 40


@dataclass
class Prompts:
    """The prompts, in the order of their paths.

    Attributes:
        names: The path of each, without its ending: "digits/h-3".
        words: What is left of the name without its front, in words: ["3"].
        sounds: Log-mel energies of the first two seconds, standardised by band, of
            shape `(prompts, time, bands)`.
        groups: The integer labels, places in `GROUPS`.
    """

    names: list[str]
    words: list[list[str]]
    sounds: np.ndarray
    groups: np.ndarray


def prompts() -> Prompts:
    """Return all prompts but those of silence.

    Raises:
        RuntimeError: The package cannot be had, or is not the published one.
    """
    folder = CACHE / FOLDER
    if not folder.is_dir():
        _fetch(folder)
    names, sounds = [], []
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.wav"), key=lambda path: path.as_posix()):
        name = path.relative_to(folder).with_suffix("").as_posix()
        raw = path.read_bytes()
        digest.update(name.encode() + raw)
        if not name.startswith("silence/"):
            names.append(name)
            sounds.append(_log_mel(_samples(path)))
    if digest.hexdigest() != DIGEST:
        raise RuntimeError(
            f"{PACKAGE} must be the published package. Received: other recordings "
            f"({digest.hexdigest()}). Remove {folder} and try again."
        )
    table = np.stack(sounds)
    table = (table - table.mean((0, 1))) / table.std((0, 1))
    groups, words = zip(*(_read(name) for name in names), strict=True)
    return Prompts(
        names, list(words), table.astype("float32"), np.array(groups, "int32")
    )


def letters(
    words: list[list[str]], learn: Iterable[int], most: int = 600
) -> np.ndarray:
    """Return which runs of one to three letters each text has.

    Names run words together ("tocallnum"): half of them share no word with another.

    Args:
        words: The words of each text.
        learn: The rows whose runs count.
        most: How many of the most frequent runs are known.

    Returns:
        Zeros and ones of shape `(texts, most)`.
    """
    runs = [
        {
            f"<{word}>"[at : at + length]
            for word in text
            for length in (1, 2, 3)
            for at in range(len(word) + 3 - length)
        }
        for text in words
    ]
    # Sorted, because the order of a set differs from process to process.
    counts = Counter(run for row in learn for run in sorted(runs[row]))
    known = [run for run, _ in counts.most_common(most)]
    return np.array([[run in text for run in known] for text in runs], "float32")


def _read(name: str) -> tuple[int, list[str]]:
    """Return the group that the front of a name stands for, and the other words."""
    found = [re.match(front, name) for front in FRONTS.values()]
    group = next(place for place, match in enumerate(found) if match)
    rest = name[found[group].end() :].removesuffix("_p").lower()
    rest = re.sub(r"ascii(\d+)", lambda code: chr(int(code[1])), rest)
    # The rest may be nothing but one of the signs that part words.
    return group, [word for word in re.split(r"[-_/]", rest) if word] or [rest]


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        raw = file.readframes(int(RATE * SECONDS))
    samples = np.zeros(int(RATE * SECONDS))
    samples[: len(raw) // 2] = np.frombuffer(raw, "<i2") / 2.0**15
    return samples


def _log_mel(samples: np.ndarray) -> np.ndarray:
    """Return the logarithm of the energy in bands that widen as hearing does."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    return np.log(power @ _bands() + 1e-4)


def _bands() -> np.ndarray:
    """Return triangles over the frequencies, of shape `(frequencies, BANDS)`."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    at = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    rising, falling = (at - low) / (middle - low), (high - at) / (high - middle)
    return np.maximum(0.0, np.minimum(rising, falling))


def _fetch(folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        try:
            unpack_debian_package(PACKAGE, Path(work))
            (found,) = Path(work).glob("usr/share/asterisk/sounds/en_US*")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise RuntimeError(
                "The spoken prompts must be at hand for this. Received: `apt-get "
                f"download {PACKAGE}` and `dpkg -x` do not work here ({error}). Run "
                "`apt-get update`, or put what that package has below "
                f"usr/share/asterisk/sounds/en_US_f_Allison into {folder}."
            ) from error
        # The last step, so that a folder that exists is whole.
        shutil.move(found, folder)


if __name__ == "__main__":
    found = prompts()
    print(f"Prompts: {found.sounds.shape} in {CACHE}")
    for place, group in enumerate(GROUPS):
        rows = np.flatnonzero(found.groups == place)
        shown = "; ".join(" ".join(found.words[row]) for row in rows[::9])
        print(f"{group}: {len(rows)} ({shown})")
