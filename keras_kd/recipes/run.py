"""A run of several stages that survives its process."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd import _backend
from keras_kd.distiller import Distiller
from keras_kd.hyperparameters import names_of, to_config
from keras_kd.recipes.progress import (
    Progress,
    SameNumbers,
    forget,
    put_in_place,
    write,
)
from keras_kd.recipes.training import Stage, Training, digest

_DONE, _STUDENT = "history.json", "student.weights.h5"


class Run:
    """Trains one stage after the other, in a directory from which it goes on.

    The directory holds a folder for each stage: the finished student's weights and its
    history, or, after each epoch of a stage that is not yet finished, everything that
    the next epoch needs. The same program, started again, reads what is finished and
    goes on in the midst of a stage, with the result of an unbroken run. All files are
    complete at any moment. What is in the directory is read by the same run only: one
    of other data, losses, lengths or sizes is refused. Functions cannot be told apart:
    give a new directory where `build` or `compile` changes without changing a shape.

    Args:
        directory: A path; created where it is missing.
        recipe: The name of the recipe.
        settings: Numbers and names that the stages follow from: a directory with
            stages of other settings is refused.
        verbose: 0 for silence, 1 for lines where a stage begins and ends, 2 for Keras's
            own progress too.

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
        self._claim(self.directory, "run.json", {"recipe": recipe, **(settings or {})})

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
        settings: dict[str, Any] | None = None,
    ) -> Stage:
        """Train a student, or go on with it, or read the finished one.

        Args:
            name: The name of the stage, a file name; each one once.
            build: Returns a new student, with its weights.
            training: How to train it.
            distil: Returns the Distiller that trains a student, not compiled; None to
                train the student by itself.
            during: Returns a scope around the training, of the student.
            settings: What else the stage follows from, numbers and names.

        Returns:
            The finished stage. A student that was trained by itself is compiled.

        Raises:
            ValueError: `build` returns no built model, the name is taken, or the stage
                is in the directory with another training.
        """
        if any(stage.name == name for stage in self.stages):
            raise ValueError(
                f"`name` must be new in each stage of a run. Received: name={name!r}, "
                "a second time."
            )
        seed = (training.seed + 1000 * len(self.stages)) % 2**31
        keras.utils.set_random_seed(seed)
        student = build()
        check_student(student)
        model = student if distil is None else distil(student)
        folder = self.path(name)
        self._claim(
            folder,
            "training.json",
            {
                **training.settings(),
                "student": digest([tuple(w.shape) for w in student.weights]),
                "distillation": _settings_of(model),
                **(settings or {}),
            },
        )
        if (folder / _DONE).exists():
            student.load_weights(folder / _STUDENT)
            if model is student:
                training.compile(student)
            history = json.loads((folder / _DONE).read_text())
            self._say(name, "read from the directory", history)
        else:
            if isinstance(model, Distiller):
                # The stage before has it; each epoch would write it once more.
                model.save_teacher = False
            with during(student):
                history = self._train(model, training, seed, folder)
            part = folder / f"part-{_STUDENT}"
            student.save_weights(part)
            put_in_place(part, folder / _STUDENT)
            write(folder / _DONE, json.dumps(history))
            forget(folder)
            self._say(name, "trained", history)
        stage = Stage(name, student, history)
        self.stages.append(stage)
        return stage

    def _claim(self, folder: Path, name: str, settings: dict[str, Any]) -> None:
        """Note what a folder is made with, or raise where it was made with other."""
        path = folder / name
        given = json.loads(json.dumps(settings, default=np.ndarray.tolist))
        # What was noted before anything was made may be wrong, and put right.
        if path.exists() and any(self._results(folder)):
            found = json.loads(path.read_text())
            other = [k for k in {**found, **given} if found.get(k) != given.get(k)]
            if other:
                raise ValueError(
                    "`directory` must be empty or hold this same run. Received: "
                    f"{str(self.directory)!r}, made with other {', '.join(other)}: "
                    f"{path.relative_to(self.directory)} holds {found}, not {given}. "
                    "Give another directory, or delete this one."
                )
            return
        folder.mkdir(parents=True, exist_ok=True)
        write(path, json.dumps(given))

    def _results(self, folder: Path) -> Iterator[Path]:
        """Yield what has been made in a folder and below it."""
        for pattern in ("history.json", "progress.json", "*.npz"):
            yield from folder.rglob(pattern)

    def _train(
        self, model: keras.Model, training: Training, seed: int, folder: Path
    ) -> dict[str, list[Any]]:
        training.compile(model)
        own = [] if training.callbacks is None else list(training.callbacks())
        progress = Progress(folder, own)
        start = progress.restore(model)
        end = start if progress.stopped else training.epochs
        self._say(folder.name, f"epoch {start + 1} of {end}" if start < end else "ends")
        # Also where no epoch is left: what happens at the end of a training may not
        # have happened.
        model.fit(
            training.data(seed, start),
            initial_epoch=start,
            epochs=end,
            validation_data=training.validation_data,
            class_weight=training.class_weight,
            shuffle=False,  # the batches come in an order of their own
            verbose="auto" if self.verbose == 2 else 0,
            callbacks=[SameNumbers(seed), *own, progress],
        )
        return progress.history

    def _say(
        self, name: str, what: str, history: dict[str, list[Any]] | None = None
    ) -> None:
        if self.verbose:
            last = {key: values[-1] for key, values in (history or {}).items()}
            shown = [
                f"{key} {value:.4g}"
                for key, value in last.items()
                if isinstance(value, (int, float))
            ]
            text = f"{self.directory.name}/{name}: {what}"
            print(text + (f" ({', '.join(shown)})" if shown else ""), flush=True)

    def value(
        self,
        name: str,
        make: Callable[[], dict[str, Any]],
        settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return arrays that a run has computed once, from its directory.

        Args:
            name: The name of the folder that holds them.
            make: Returns arrays by name.
            settings: What they follow from, numbers and names.

        Raises:
            ValueError: The directory holds arrays made with other settings.
        """
        folder = self.path(name)
        self._claim(folder, "settings.json", settings or {})
        path = folder / "arrays.npz"
        if not path.exists():
            part = folder / "part-arrays.npy"
            with part.open("wb") as file:
                np.savez(file, **make())
            put_in_place(part, path)
        with np.load(path) as stored:
            return dict(stored)


def check_student(student: Any, argument: str = "build") -> None:
    """Raise where a function has returned no model that can be trained and kept.

    Raises:
        ValueError: It has not.
    """
    if not isinstance(student, keras.Model) or not _backend.is_built(student):
        raise ValueError(
            f"`{argument}` must return a Keras model that has its weights. Received: "
            f"{student!r}. Start it with a `keras.Input`, or call it on a batch."
        )


def _settings_of(model: keras.Model) -> Any:
    """Return the numbers and names by which a directory knows a Distiller again."""
    if not isinstance(model, Distiller):
        return None
    owners = {
        "distiller": model,
        **{loss.name: loss for loss in model.distillation_losses},
    }
    return {
        "losses": [type(loss).__name__ for loss in model.distillation_losses],
        "weights": [to_config(weight) for weight in model.distillation_loss_weights],
        **{
            f"{owner}.{name}": to_config(getattr(held, name))
            for owner, held in owners.items()
            for name in names_of(held)
        },
    }
