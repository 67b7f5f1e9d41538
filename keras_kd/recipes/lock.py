"""One process at a time in a directory."""

import os
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows has no such locks, and a run there has none
    fcntl = None  # type: ignore[assignment]

_FILE = "lock"
_held: dict[str, tuple[int, int]] = {}


class DirectoryLock:
    """A scope in which no other process may work in a directory.

    The system lets go of the lock when its process ends, however it ends, so that one
    of a dead process is never in the way. The same process may hold it several times.

    Args:
        directory: The directory, which exists when the scope is entered.

    Raises:
        ValueError: If another process works there, when the scope is entered.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> "DirectoryLock":
        key = str(self.directory.resolve())
        # A second descriptor would let go of the lock of the first when it is closed.
        descriptor, count = _held.get(key, (None, 0))
        if descriptor is None:
            descriptor = self._acquire()
        _held[key] = descriptor, count + 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        key = str(self.directory.resolve())
        descriptor, count = _held.pop(key)
        if count > 1:
            _held[key] = descriptor, count - 1
        else:
            os.close(descriptor)

    def _acquire(self) -> int:
        path = self.directory / _FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # where nobody can write, a finished run can be read
            return os.open(os.devnull, os.O_RDWR)
        if fcntl is not None:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                os.close(descriptor)
                process = path.read_text().strip() or "unknown"
                raise ValueError(
                    "`directory` must be used by one process at a time. Received: "
                    f"directory={str(self.directory)!r}, in which the process "
                    f"{process} is at work. Wait for its end, or give another "
                    "directory."
                ) from error
            except OSError:
                pass  # a file system without locks: nobody is kept out there
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor
