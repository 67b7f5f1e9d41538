"""The folders of a run: whose they are, and what is finished in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_kd.recipes.files import (
    check_file,
    checked_directory,
    damaged,
    hash_of,
    read_record,
    write_record,
    writing,
)
from keras_kd.recipes.progress import Progress
from keras_kd.recipes.stage_key import differences

RUN, KEY, ARRAYS = "run.json", "key.json", "arrays.npz"
_DONE, _STUDENT = "history.json", "student.weights.h5"


class RunDirectory:
    """The directory of a run, with a folder for each stage.

    Args:
        directory: The path of a folder; created where it is missing.

    Raises:
        ValueError: If it is no path of a folder.
    """

    def __init__(self, directory: Any) -> None:
        self.path = checked_directory(directory)

    def check_claim(self, path: Path, given: dict[str, Any]) -> bool:
        """Say whether a folder holds results, and raise where they are of another."""
        within = "*/" if path.name == RUN else ""
        if not any(_results(path.parent, within)):
            return False
        changed = differences(read_record(self.path, path), given)
        if changed:
            folder = path.parent.relative_to(self.path)
            anew = f"the folder '{folder}'" if folder.name else "this one"
            raise ValueError(
                "`directory` must be empty or hold this same run. Received: "
                f"directory={str(self.path)!r}, where '{folder / path.name}' was "
                f"made with other {', '.join(changed)}. Give another directory, or "
                f"delete {anew}: what is in it is then made anew."
            )
        return True

    def claim(self, folder: Path, name: str, given: dict[str, Any]) -> None:
        """Note what a folder is made with, or raise where it was made with other."""
        # What was noted before anything was made may be wrong, and put right.
        if not self.check_claim(folder / name, given):
            folder.mkdir(parents=True, exist_ok=True)
            write_record(folder / name, given)

    def history_of(self, folder: Path, owner: str, epochs: int) -> Any:
        """Return the history of a finished stage, or None where there is more to do."""
        path = folder / _DONE
        if not path.exists():
            progress = Progress(self.path, folder, owner)
            if (folder / _STUDENT).exists() and not progress.exists():
                raise damaged(self.path, path, "is missing")
            return None
        found = read_record(self.path, path)
        if found["owner"] != owner:
            raise damaged(self.path, path, "belongs to another stage")
        check_file(self.path, folder / _STUDENT, found["sha256"])
        if found["epochs"] == epochs:
            return found["history"]
        if found["epochs"] < epochs and Progress(self.path, folder, owner).exists():
            # The last stage has kept its state: it becomes one that is not finished.
            path.unlink()
            return None
        raise ValueError(
            "`epochs` can be raised in the last stage of a run only, which keeps the "
            "state of its optimizer. Received: "
            f"directory={str(self.path)!r}, where '{folder.name}' was made with "
            f"other `epochs` ({found['epochs']} there, {epochs} now). Give another "
            "directory, or delete the folders of this stage and of those after it."
        )

    def finish(
        self,
        folder: Path,
        owner: str,
        student: keras.Model,
        history: dict[str, list[Any]],
        epochs: int,
    ) -> None:
        """Keep a finished student and its history."""
        with writing(folder / _STUDENT) as part:
            keras.saving.save_weights(
                student, part, objects_to_skip=_optimizers(student)
            )
        done = {"owner": owner, "epochs": epochs, "history": history}
        done["sha256"] = hash_of(folder / _STUDENT)
        write_record(folder / _DONE, done)

    def load(self, folder: Path, student: keras.Model) -> None:
        """Give a student the weights of the finished one."""
        keras.saving.load_weights(
            student, folder / _STUDENT, objects_to_skip=_optimizers(student)
        )

    def is_finished(self, folder: Path) -> bool:
        """Say whether a stage has come to its end."""
        return (folder / _DONE).exists()


def _optimizers(student: keras.Model) -> list[Any]:
    """List what trained a student, which is no part of a finished one."""
    optimizer = getattr(student, "optimizer", None)  # there is none before `compile`
    return [] if optimizer is None else [optimizer]


def _results(folder: Path, within: str) -> Iterator[Path]:
    """Yield what has been made in a folder, or within each one of it."""
    for pattern in (_DONE, _STUDENT, ARRAYS, "epoch-*.h5"):
        yield from folder.glob(within + pattern)
