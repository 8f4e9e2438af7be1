"""One program at a time in a folder."""

import contextlib
import logging
import pathlib
import time
from collections.abc import Iterator

from filelock import FileLock, Timeout

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import describe_disk_error

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 1.0


@contextlib.contextmanager
def locked_folder(
    folder: pathlib.Path, option: str = "--workdir", *, wait: bool = False
) -> Iterator[None]:
    """Holds a folder for this process; the lock dies with the process.

    Args:
      option: the flag that named the folder, for messages.
      wait: until another run leaves the folder, instead of refusing.

    Raises:
      UserError: another run holds it, or the disk does not take what is written there.
    """
    waiting = False
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while not stack.enter_context(try_lock(folder / ".lock")):
                if not wait:
                    raise UserError(
                        f"{option}={folder} is in use by another run; wait for it or name another "
                        "folder"
                    )
                stack.pop_all().close()
                if not waiting:
                    log.info("another run is at %s; waiting for it", folder)
                waiting = True
                time.sleep(SECONDS_BETWEEN_TRIES)
        except OSError as error:
            raise UserError(f"{option}={folder} cannot be written: {error.strerror}") from error
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            trouble = describe_disk_error(error)
            if trouble is None:
                raise
            raise UserError(
                f"{option}={folder} cannot be written: {trouble}; what was whole there is as it "
                "was: put this right and run the same command to go on"
            ) from error


@contextlib.contextmanager
def try_lock(file: pathlib.Path) -> Iterator[bool]:
    """Takes the lock of a file unless another program has it; says whether it could."""
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
