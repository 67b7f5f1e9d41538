"""Run a training scheme by epochs; as a program, finish what another has saved.

python -m tests.schemes.runs FOLDER POLICY
"""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.schemes.table import SCHEMES
from tests.training.helpers import values_of

EPOCHS, STOP = 4, 2


class Keep(keras.callbacks.Callback):
    """Saves the whole Distiller in the middle of its training."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == STOP:
            self.model.save(self.path)


def train(name: str, distiller: Any, start: int = 0, *last: Any) -> dict[str, Any]:
    """Train from an epoch to the end, and return the history."""
    row = SCHEMES[name]
    return distiller.fit(
        row.data(start),
        initial_epoch=start,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[*row.callbacks(distiller), *last],
    ).history


def state_of(distiller: Any) -> list[np.ndarray]:
    """Return everything that the training carries from step to step."""
    teacher = distiller.teacher
    # Not the seeds of its dropout, which it never draws from.
    frozen = teacher.weights if isinstance(teacher, keras.Model) else []
    return values_of(
        [*distiller.variables, *distiller.optimizer.variables, *frozen],
    )


def main() -> None:
    """Finish each training scheme of a folder, and write down what it has become."""
    folder, policy = Path(sys.argv[1]), sys.argv[2]
    keras.config.set_dtype_policy(policy)
    for path in sorted(folder.glob("*.keras")):
        distiller = keras.saving.load_model(path)
        history = train(path.stem, distiller, STOP)
        state = {str(place): a for place, a in enumerate(state_of(distiller))}
        np.savez(folder / f"{path.stem}.npz", **state)
        (folder / f"{path.stem}.json").write_text(json.dumps(history))


if __name__ == "__main__":
    main()
