"""A run of several stages that survives its process."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import keras

from keras_kd.distiller import Distiller
from keras_kd.recipes.description import describe, digest
from keras_kd.recipes.files import read_arrays, write_arrays
from keras_kd.recipes.lock import DirectoryLock
from keras_kd.recipes.progress import Progress, SameNumbers, forget
from keras_kd.recipes.rehearsal import Rehearsal, check_student
from keras_kd.recipes.run_directory import ARRAYS, KEY, RUN, RunDirectory
from keras_kd.recipes.stage_key import stage_key
from keras_kd.recipes.training import Stage, Training

Result = TypeVar("Result")


class Run:
    """Trains one stage after the other, in a directory from which it goes on.

    The directory holds a folder for each stage: the finished student's weights and its
    history, or, after each epoch of a stage that is not yet finished, everything that
    the next epoch needs. The same program, started again, reads what is finished and
    goes on in the midst of a stage, with the result of an unbroken run.

    What is in the directory is read by the same run only. A stage is known by all that
    it depends on: the data; the configuration and the weights of the student that it
    begins with and of its teacher; losses, weights and schedules; optimizer and
    metrics; class weights, order and seed. Another one is refused, by the name of what
    differs. `build`, `compile` and `distil` are known by what they return, other
    functions by their code and by what they hold, a data set by its first batch, where
    that is the same each time. Callbacks of one's own are taken for observers unless
    they have a `get_config`.

    A run may become longer: by stages, and, in its last one, by epochs. All files are
    complete at any moment, and one that is damaged is refused by its name. One process
    at a time works in a directory; a `with` block keeps it to this run between stages.

    Args:
        directory: The path of a folder; created where it is missing.
        recipe: The name of the recipe.
        settings: What all stages follow from: a directory with stages of other
            settings is refused.
        verbose: 0 for silence, 1 for lines where a stage begins and ends, 2 for Keras's
            own progress too.

    Raises:
        ValueError: If `directory` is no path of a folder, holds another run or a
            damaged one, or `verbose` is none of these.

    Example:
    ```python
    with keras_kd.recipes.Run("runs/own", "own") as run:
        teacher = run.stage("teacher", build_teacher, training).student
        student = run.stage(
            "student",
            build_student,
            training,
            lambda student: keras_kd.recipes.soft_targets(teacher, student),
        ).student
    ```
    """

    is_rehearsal = False

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
        self.verbose = verbose
        self._files = RunDirectory(directory)
        self.directory = self._files.path
        self.stages: list[Stage] = []
        self._settings = {
            "recipe": recipe,
            **{f"`{key}`": describe(value) for key, value in (settings or {}).items()},
        }
        self._rehearsed = False
        self._lock = DirectoryLock(self.directory)
        # Another run must show before the hour in which models are built.
        self._files.check_claim(self.directory / RUN, self._settings)

    def __enter__(self) -> "Run":
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock.__enter__()
        try:
            self._files.claim(self.directory, RUN, self._settings)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.__exit__(kind, error, traceback)

    def carry_out(self, recipe: "Callable[[Run | Rehearsal], Result]") -> Result:
        """Check all stages of a recipe, then train them.

        Args:
            recipe: A function of a run that calls its `stage` and `value`. It is called
                twice: first with a `Rehearsal`, whose students are not trained.

        Returns:
            What the recipe returns.

        Raises:
            ValueError: If a stage cannot be trained; nothing has been by then.
        """
        recipe(Rehearsal())
        self._rehearsed = True
        with self:
            return recipe(self)

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
            settings: What else the stage follows from.

        Returns:
            The finished stage. Its student is compiled anew.

        Raises:
            ValueError: If `build` returns no built model, the name is taken, no
                trainable weight of the student reaches a loss, or the directory holds
                another stage of this name or a damaged one.
        """
        if any(stage.name == name for stage in self.stages):
            raise ValueError(
                f"`name` must be new in each stage of a run. Received: name={name!r}, "
                "a second time."
            )
        folder = self.path(name)
        if not self._rehearsed and not self._files.is_finished(folder):
            Rehearsal().stage(name, build, training, distil, during)
        with self:
            seed = (training.seed + 1000 * len(self.stages)) % 2**31
            keras.utils.set_random_seed(seed)
            student = build()
            check_student(student)
            model = student if distil is None else distil(student)
            training.compile(model)
            key = stage_key(training, model, student, settings)
            self._files.claim(folder, KEY, key)
            owner = f"{name}/{digest(key)}"
            history = self._files.history_of(folder, owner, training.epochs)
            if history is None:
                with during(student):
                    history = self._train(model, training, seed, folder, owner)
                self._files.finish(folder, owner, student, history, training.epochs)
                self._say(name, "trained", history)
            else:
                self._files.load(folder, student)
                self._say(name, "read from the directory", history)
            # Alike, whether it was trained or read, by labels or by a teacher.
            training.compile(student)
        stage = Stage(name, student, history)
        self.stages.append(stage)
        return stage

    def value(
        self,
        name: str,
        make: Callable[[], dict[str, Any]],
        settings: dict[str, Any] | None = None,
        rehearsed: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return arrays that a run has computed once, from its directory.

        Args:
            name: The name of the folder that holds them.
            make: Returns arrays by name.
            settings: What they follow from.
            rehearsed: What stands for them while the recipe is checked; None to make
                them there, too.

        Raises:
            ValueError: If the directory holds arrays made with other settings, or
                damaged ones.
        """
        del rehearsed
        with self:
            given = {f"`{key}`": describe(v) for key, v in (settings or {}).items()}
            folder = self.path(name)
            self._files.claim(folder, KEY, given)
            path, owner = folder / ARRAYS, f"{name}/{digest(given)}"
            if not path.exists():
                write_arrays(path, make(), owner)
            return read_arrays(self.directory, path, owner)

    def _train(
        self,
        model: keras.Model,
        training: Training,
        seed: int,
        folder: Path,
        owner: str,
    ) -> dict[str, list[Any]]:
        own = [] if training.callbacks is None else list(training.callbacks())
        progress = Progress(self.directory, folder, owner, own)
        if isinstance(model, Distiller):
            # The stage before has it; each epoch would write it once more.
            model.save_teacher = False
        start = progress.restore(model, training.epochs)
        for stage in self.stages:
            forget(self.path(stage.name))
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
