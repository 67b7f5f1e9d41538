"""What a stage keeps after each epoch, and how it comes back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.distiller import Distiller
from keras_kd.recipes.description import is_plain
from keras_kd.recipes.files import (
    check_file,
    damaged,
    hash_of,
    read_arrays,
    read_record,
    write_arrays,
    write_record,
    writing,
)

# In each training anew; of `min_delta` it turns the sign when the first epoch ends.
_SET_BY_KERAS = ("_model", "params", "min_delta")
_PROGRESS, _SAVED = "progress.json", "epoch-*"


class SameNumbers(keras.callbacks.Callback):
    """Begins each epoch with the random numbers that follow from its number.

    What draws from the global generators draws the same in a resumed epoch; first
    among the callbacks, because they may draw too.

    Args:
        seed: The seed of the stage.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        keras.utils.set_random_seed((self.seed + 7919 * (epoch + 1)) % 2**31)


class Progress(keras.callbacks.Callback):
    """Saves everything that the next epoch needs, at the end of each.

    Last among the callbacks: it saves what they have become, and gives it back to them
    after they have begun.

    Args:
        root: The directory of the run.
        folder: The folder of the stage.
        owner: What tells the stage from others.
        others: The callbacks before it whose memory is kept: numbers, strings, arrays,
            and lists and dicts of these.
    """

    def __init__(
        self, root: Path, folder: Path, owner: str, others: Sequence[Any] = ()
    ) -> None:
        super().__init__()
        self.root, self.folder, self.owner = root, folder, owner
        self.others = list(others)
        self.history: dict[str, list[Any]] = {}
        self.stopped = False
        self._remembered: list[Any] = []

    def exists(self) -> bool:
        """Say whether the training has begun.

        Raises:
            ValueError: If an epoch is there, but not the file that describes it.
        """
        path = self.folder / _PROGRESS
        if not path.exists() and any(self.folder.glob(_SAVED)):
            raise damaged(self.root, path, "is missing")
        return path.exists()

    def restore(self, model: keras.Model, epochs: int) -> int:
        """Give the model what was saved last, and return the epochs that it has.

        Args:
            model: The compiled model that is trained.
            epochs: The number of epochs that it shall have.

        Raises:
            ValueError: If a file is missing, damaged or another stage's, or the model
                has had more epochs already.
        """
        path = self.folder / _PROGRESS
        found: dict[str, Any] = read_record(self.root, path) if self.exists() else {}
        if not found.get("epochs"):
            return 0
        if found["owner"] != self.owner:
            raise damaged(self.root, path, "belongs to another stage")
        if found["epochs"] > epochs:
            raise ValueError(
                "`epochs` must not be below what a stage has been trained already. "
                f"Received: directory={str(self.root)!r}, where '{self.folder.name}' "
                f"was made with other `epochs` (already {found['epochs']} there, "
                f"{epochs} now). Give another directory, or delete the folder "
                f"'{self.folder.name}'."
            )
        weights = self.folder / _weights_file(found["epochs"])
        check_file(self.root, weights, found["sha256"])
        self.history, self.stopped = found["history"], found["stopped"]
        if not isinstance(model, Distiller):  # which makes room for it while it loads
            model.optimizer.build(model.trainable_variables)
        model.load_weights(weights)
        for variable, value in zip(_seeds_of(model), found["seeds"], strict=True):
            variable.assign(value)
        arrays = self.folder / _callbacks_file(found["epochs"])
        self._remembered = _unpacked(
            found["memories"], read_arrays(self.root, arrays, self.owner)
        )
        return int(found["epochs"])

    def on_train_begin(self, logs: Any = None) -> None:
        for callback, memory in zip(self.others, self._remembered, strict=False):
            vars(callback).update(memory)
        if not self.history:
            # So that it is missing where it is not there beside an epoch.
            write_record(self.folder / _PROGRESS, {"epochs": 0})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(np.asarray(value).tolist())
        saved = [self.folder / name(epoch + 1) for name in _FILES]
        weights, callbacks = saved
        with writing(weights) as part:
            self.model.save_weights(part)
        arrays: dict[str, np.ndarray] = {}
        memories = [_packed(_memory_of(other), arrays) for other in self.others]
        write_arrays(callbacks, arrays, self.owner)
        progress = {
            "owner": self.owner,
            "epochs": epoch + 1,
            "sha256": hash_of(weights),
            "memories": memories,
            "seeds": [np.array(s.numpy()).tolist() for s in _seeds_of(self.model)],
            "stopped": bool(self.model.stop_training),
            "history": self.history,
        }
        write_record(self.folder / _PROGRESS, progress)
        for old in self.folder.glob(_SAVED):
            if old not in saved:
                old.unlink()


def forget(folder: Path) -> None:
    """Remove what only more epochs of a stage need."""
    for rest in [folder / _PROGRESS, *folder.glob(_SAVED)]:
        rest.unlink(missing_ok=True)


def _weights_file(epochs: int) -> str:
    return f"epoch-{epochs}.weights.h5"


def _callbacks_file(epochs: int) -> str:
    return f"epoch-{epochs}-callbacks.npz"


_FILES = (_weights_file, _callbacks_file)


def _seeds_of(model: keras.Model) -> list[keras.Variable]:
    """List the states of random numbers, which files of weights leave out."""
    weights = {id(variable) for variable in model.weights}
    return [v for v in model.variables if id(v) not in weights]


def _memory_of(callback: Any) -> dict[str, Any]:
    """Return what a callback holds that can be written down."""
    return {
        key: value
        for key, value in vars(callback).items()
        if key not in _SET_BY_KERAS and is_plain(value)
    }


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return the JSON form of a value, with its arrays set aside."""
    if isinstance(value, dict):
        return {"dict": {key: _packed(v, arrays) for key, v in value.items()}}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(item, arrays) for item in value]}
    if isinstance(value, (np.ndarray, np.generic)):
        key = f"array_{len(arrays)}"
        arrays[key] = np.asarray(value)
        return {"array": key}
    return value


def _unpacked(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "dict":
        return {key: _unpacked(v, arrays) for key, v in held.items()}
    if kind == "array":
        # A NumPy number has no axes; as an array it may not be a key or an index.
        array = arrays[held]
        return array if array.ndim else array[()]
    items = [_unpacked(item, arrays) for item in held]
    return tuple(items) if kind == "tuple" else items
