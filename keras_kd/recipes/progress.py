"""What a stage keeps after each epoch, and how it comes back."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.distiller import Distiller

# In each training anew; of `min_delta` it turns the sign when the first epoch ends.
_SET_BY_KERAS = ("_model", "params", "min_delta")
_PROGRESS, _CALLBACKS = "progress.json", "callbacks.npz"


class SameNumbers(keras.callbacks.Callback):
    """Begins each epoch with the random numbers that follow from its place.

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
        folder: The folder of the stage.
        others: The callbacks before it whose memory is kept: numbers, strings, arrays,
            and lists and dicts of these.
    """

    def __init__(self, folder: Path, others: Sequence[Any]) -> None:
        super().__init__()
        self.folder, self.others = folder, list(others)
        self.history: dict[str, list[Any]] = {}
        self.stopped = False
        self._remembered: list[Any] = []

    def restore(self, model: keras.Model) -> int:
        """Give the model what was saved last, and return the epochs that it has."""
        path = self.folder / _PROGRESS
        if not path.exists():
            return 0
        found = json.loads(path.read_text())
        self.history, self.stopped = found["history"], found["stopped"]
        if not isinstance(model, Distiller):  # which makes room for it while it loads
            model.optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / found["weights"])
        for variable, value in zip(_seeds_of(model), found["seeds"], strict=True):
            variable.assign(value)
        with np.load(self.folder / found["callbacks"]) as arrays:
            self._remembered = _unpacked(found["memories"], dict(arrays))
        return int(found["epochs"])

    def on_train_begin(self, logs: Any = None) -> None:
        for callback, memory in zip(self.others, self._remembered, strict=False):
            vars(callback).update(memory)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(np.asarray(value).tolist())
        name = f"epoch-{epoch + 1}.weights.h5"
        part = self.folder / f"part-{name}"
        self.model.save_weights(part)
        put_in_place(part, self.folder / name)
        arrays: dict[str, np.ndarray] = {}
        memories = [_packed(_memory_of(other), arrays) for other in self.others]
        remembered = f"epoch-{epoch + 1}-{_CALLBACKS}"
        part = self.folder / f"part-{remembered}"
        np.savez(part, **arrays)  # type: ignore[arg-type]
        put_in_place(part, self.folder / remembered)
        progress = {
            "epochs": epoch + 1,
            "weights": name,
            "callbacks": remembered,
            "memories": memories,
            "seeds": [np.array(s.numpy()).tolist() for s in _seeds_of(self.model)],
            "stopped": bool(self.model.stop_training),
            "history": self.history,
        }
        write(self.folder / _PROGRESS, json.dumps(progress))
        for old in self.folder.glob("epoch-*"):
            if old.name not in (name, remembered):
                old.unlink()


def forget(folder: Path) -> None:
    """Remove what only an unfinished stage needs."""
    for rest in [folder / _PROGRESS, *folder.glob("epoch-*")]:
        rest.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Write a file that is complete whenever it is there."""
    part = path.with_name(f"part-{path.name}")
    part.write_text(text)
    put_in_place(part, path)


def put_in_place(part: Path, path: Path) -> None:
    """Give a complete file its name, once it is on the disk."""
    with part.open("rb+") as file:
        # Where the power fails, a file may else have its name and not its content.
        os.fsync(file.fileno())
    part.replace(path)


def _seeds_of(model: keras.Model) -> list[keras.Variable]:
    """List the states of random numbers, which files of weights leave out."""
    weights = {id(variable) for variable in model.weights}
    return [v for v in model.variables if id(v) not in weights]


def _memory_of(callback: Any) -> dict[str, Any]:
    """Return what a callback holds that can be written down."""
    return {
        key: value
        for key, value in vars(callback).items()
        if key not in _SET_BY_KERAS and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc"
    return value is None or isinstance(value, (bool, int, float, str))


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
