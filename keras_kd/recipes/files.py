"""The files of a run: complete whenever they are there, and known again when read."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_PART = "part-"


def checked_directory(directory: Any) -> Path:
    """Return the path of a directory.

    Raises:
        ValueError: If `directory` is not the path of a folder, existing or not.
    """
    is_path = isinstance(directory, (str, os.PathLike)) and bool(os.fspath(directory))
    if not is_path or (Path(directory).exists() and not Path(directory).is_dir()):
        raise ValueError(
            "`directory` must be the path of a folder that holds this run, or of one "
            f"that is new or empty. Received: directory={directory!r}. The run goes on "
            "from there where it is interrupted; `tempfile.mkdtemp()` makes one that "
            "need not stay."
        )
    return Path(directory)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Open a scope that writes a file, which replaces the old one when it is complete.

    Where writing fails, what was there before is there still.

    Args:
        path: The file.

    Yields:
        The path to write to.
    """
    part = path.with_name(_PART + path.name)
    try:
        yield part
        with part.open("rb+") as file:
            # Where the power fails, a file may else have its name and not its content.
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.add_note(
                f"While {path} was written. What was there before is as it was: make "
                "room, and start the same program again."
            )
        raise


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a dict in JSON form, with a hash by which damage shows."""
    text = json.dumps(content)
    with writing(path) as part:
        part.write_text(json.dumps({"sha256": _hash(text), "content": content}))


def read_record(root: Path, path: Path) -> dict[str, Any]:
    """Return what `write_record` has written.

    Raises:
        ValueError: If the file is not there, or not as it was written.
    """
    if not path.is_file():
        raise damaged(root, path, "is missing")
    try:
        found = json.loads(path.read_text())
        content: dict[str, Any] = found["content"]
        intact = found["sha256"] == _hash(json.dumps(content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(root, path, "cannot be read") from error
    if not intact:
        raise damaged(root, path, "is not as it was written")
    return content


def hash_of(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(root: Path, path: Path, sha256: str) -> None:
    """Raise where a file is not the one whose hash was noted.

    Raises:
        ValueError: If it is missing, damaged, or another stage's.
    """
    if not path.is_file():
        raise damaged(root, path, "is missing")
    if hash_of(path) != sha256:
        raise damaged(root, path, "is not as it was written")


def write_arrays(path: Path, arrays: dict[str, np.ndarray], owner: str) -> None:
    """Write arrays, and to what they belong.

    Args:
        path: The file.
        arrays: The arrays by their names.
        owner: A text that tells it from other files of the same kind.
    """
    with writing(path) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]
        with zipfile.ZipFile(part, "a") as archive:
            # The arrays have hashes there; together with their owner they have none.
            archive.comment = _hash(owner).encode()


def read_arrays(root: Path, path: Path, owner: str) -> dict[str, np.ndarray]:
    """Return what `write_arrays` has written.

    Raises:
        ValueError: If the file is not as it was written, or another's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment.decode(errors="replace")
        with np.load(path) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(root, path, "cannot be read") from error
    if comment != _hash(owner):
        raise damaged(root, path, "belongs to other files than those beside it")
    return arrays


def damaged(root: Path, path: Path, what: str) -> ValueError:
    """Return the error of a file of a run that cannot be used.

    Args:
        root: The directory of the run.
        path: The file.
        what: What is wrong with it.
    """
    inner = path.relative_to(root)
    folder = inner.parent
    anew = (
        f"delete the folder '{folder}', which is then made anew"
        if folder.name
        else "delete the directory"
    )
    return ValueError(
        "`directory` must hold the files of its run as they were written. Received: "
        f"directory={str(root)!r}, whose file '{inner}' {what}. Put the file back, or "
        f"{anew}."
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
