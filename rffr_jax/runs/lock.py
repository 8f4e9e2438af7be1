"""One program at a time in a folder."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from rffr_jax.errors import UserError
from rffr_jax.runs.disk_errors import disk_trouble


@contextlib.contextmanager
def locked(folder: pathlib.Path, option: str = "--workdir") -> Iterator[None]:
    """Holds a folder for this process; the lock dies with the process.

    Args:
      option: the flag that named the folder, for messages.

    Raises:
      UserError: another run holds it, or the disk does not take what is written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{option}={folder} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{option}={folder} is in use by another run; wait for it or name another folder"
            ) from error
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            trouble = disk_trouble(error)
            if trouble is None:
                raise
            raise UserError(
                f"{option}={folder} cannot be written: {trouble}; what was whole there is as it "
                "was: put this right and run the same command to go on"
            ) from error


def in_use(folder: pathlib.Path) -> bool:
    """Whether a run holds a folder just now; False too where there is no folder."""
    file = folder / ".lock"
    if not file.exists():
        return False
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
