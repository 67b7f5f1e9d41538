"""A run of several stages that survives its process."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd import _backend
from keras_kd.distiller import Distiller
from keras_kd.recipes.training import Stage, Training

_DONE, _STUDENT, _PROGRESS = "history.json", "student.weights.h5", "progress.json"


class Run:
    """Trains one stage after the other, in a directory from which it goes on.

    The directory holds a folder for each stage: the finished student's weights and its
    history, or, after each epoch of a stage that is not yet finished, everything that
    the next epoch needs. The same program, started again, reads what is finished and
    goes on in the midst of a stage, with the result of an unbroken run. All files are
    complete at any moment.

    Args:
        directory: A path; created where it is missing.
        recipe: The name of the recipe.
        settings: Numbers and names that the stages follow from: a directory of other
            settings is refused.
        verbose: 0 for silence, 1 for a line per stage, 2 for Keras's own progress too.

    Raises:
        ValueError: The directory holds another run, or `verbose` is none of these.
    """

    def __init__(
        self,
        directory: Any,
        recipe: str,
        settings: dict[str, Any] | None = None,
        *,
        verbose: int = 1,
    ) -> None:
        if verbose not in (0, 1, 2):
            raise ValueError(f"`verbose` must be 0, 1 or 2. Received: {verbose!r}")
        self.directory, self.verbose = Path(directory), verbose
        self.stages: list[Stage] = []
        given = {"recipe": recipe, **(settings or {})}
        path = self.directory / "run.json"
        if path.exists():
            found = json.loads(path.read_text())
            if found != json.loads(json.dumps(given)):
                raise ValueError(
                    f"`directory` must be empty or hold this same run. Received: "
                    f"{str(self.directory)!r}, which holds {found}, not {given}. Give "
                    "another directory, or delete this one."
                )
        else:
            self.directory.mkdir(parents=True, exist_ok=True)
            _write(path, json.dumps(given))

    def path(self, name: str) -> Path:
        """Return the folder of a stage."""
        return self.directory / name

    def stage(
        self,
        name: str,
        build: Callable[[], keras.Model],
        training: Training,
        distil: Callable[[keras.Model], keras.Model] | None = None,
        during: Callable[[keras.Model], AbstractContextManager[None]] = nullcontext,
    ) -> Stage:
        """Train a student, or go on with it, or read the finished one.

        Args:
            name: The name of the stage, a file name.
            build: Returns a new student, with its weights.
            training: How to train it.
            distil: Returns the Distiller that trains a student, not compiled; None to
                train the student by itself.
            during: Returns a scope around the training, of the student.

        Returns:
            The finished stage.

        Raises:
            ValueError: `build` returns no built model.
        """
        seed = training.seed + 1000 * len(self.stages)
        keras.utils.set_random_seed(seed)
        student = build()
        if not isinstance(student, keras.Model) or not _backend.is_built(student):
            raise ValueError(
                "`build` must return a Keras model that has its weights. Received: "
                f"{student!r}. Start it with a `keras.Input`, or call it on a batch."
            )
        folder = self.path(name)
        if (folder / _DONE).exists():
            student.load_weights(folder / _STUDENT)
            history = json.loads((folder / _DONE).read_text())
            self._say(name, "read from the directory", history)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            model = student if distil is None else distil(student)
            if isinstance(model, Distiller):
                # The stage before has it; each epoch would write it once more.
                model.save_teacher = False
            with during(student):
                history = self._train(model, training, seed, folder)
            part = folder / f"part-{_STUDENT}"
            student.save_weights(part)
            part.rename(folder / _STUDENT)
            _write(folder / _DONE, json.dumps(history))
            for rest in [folder / _PROGRESS, *folder.glob("epoch-*")]:
                rest.unlink(missing_ok=True)
            self._say(name, "trained", history)
        stage = Stage(name, student, history)
        self.stages.append(stage)
        return stage

    def _train(
        self, model: keras.Model, training: Training, seed: int, folder: Path
    ) -> dict[str, list[float]]:
        training.compile(model)
        progress = _Progress(folder, seed)
        start = progress.restore(model)
        if start:
            self._say(folder.name, f"goes on after epoch {start}", {})
        if start < training.epochs:
            own = [] if training.callbacks is None else list(training.callbacks())
            model.fit(
                training.data(seed, start),
                initial_epoch=start,
                epochs=training.epochs,
                validation_data=training.validation_data,
                shuffle=False,  # the batches come in an order of their own
                verbose="auto" if self.verbose == 2 else 0,
                callbacks=[*own, progress],
            )
        return progress.history

    def _say(self, name: str, what: str, history: dict[str, list[float]]) -> None:
        if self.verbose:
            last = {key: values[-1] for key, values in history.items() if values}
            shown = [f"{key} {value:.4g}" for key, value in last.items()]
            text = f"{self.directory.name}/{name}: {what}"
            print(text + (f" ({', '.join(shown)})" if shown else ""), flush=True)

    def value(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return arrays that a run has computed once, from its directory.

        Args:
            name: Their file's name.
            make: Returns arrays by name.
        """
        path = self.path(f"{name}.npz")
        if not path.exists():
            part = self.path(f"part-{name}.npz")
            np.savez(part, **make())
            part.rename(path)
        with np.load(path) as stored:
            return dict(stored)


class _Progress(keras.callbacks.Callback):
    """Saves everything that the next epoch needs, at the end of each."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__()
        self.folder, self.seed = folder, seed
        self.history: dict[str, list[float]] = {}

    def restore(self, model: keras.Model) -> int:
        """Give the model what was saved last, and return the epochs that it has."""
        path = self.folder / _PROGRESS
        if not path.exists():
            return 0
        found = json.loads(path.read_text())
        self.history = found["history"]
        if not isinstance(model, Distiller):  # which makes room for it while it loads
            model.optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / found["weights"])
        for variable, value in zip(_seeds_of(model), found["seeds"], strict=True):
            variable.assign(value)
        return int(found["epochs"])

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # What draws from the global generators draws the same in a resumed epoch.
        keras.utils.set_random_seed((self.seed + 7919 * (epoch + 1)) % 2**31)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(float(value))
        name = f"epoch-{epoch + 1}.weights.h5"
        part = self.folder / f"part-{name}"
        self.model.save_weights(part)
        part.rename(self.folder / name)
        seeds = [np.array(seed.numpy()).tolist() for seed in _seeds_of(self.model)]
        progress = {
            "epochs": epoch + 1,
            "weights": name,
            "seeds": seeds,
            "history": self.history,
        }
        _write(self.folder / _PROGRESS, json.dumps(progress))
        for old in self.folder.glob("epoch-*"):
            if old.name != name:
                old.unlink()


def _seeds_of(model: keras.Model) -> list[keras.Variable]:
    """List the states of random numbers, which files of weights leave out."""
    weights = {id(variable) for variable in model.weights}
    return [v for v in model.variables if id(v) not in weights]


def _write(path: Path, text: str) -> None:
    """Write a file that is complete whenever it is there."""
    part = path.with_name(f"part-{path.name}")
    part.write_text(text)
    part.rename(path)
