"""A lock that lets only one program work in a folder."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import describe_disk_error

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds; `rffr-jax runs` holds a lock for a moment to test it
SECONDS_BETWEEN_QUICK_TRIES, SECONDS_BETWEEN_TRIES = 0.02, 1.0


@contextlib.contextmanager
def locked_folder(
    folder: pathlib.Path, option: str = "--workdir", *, wait: bool = False
) -> Iterator[None]:
    """Locks a folder for this process; the lock ends with the process.

    Args:
      option: the flag that named the folder, for messages.
      wait: for another run to leave the folder, instead of refusing.

    Raises:
      UserError: another run has the lock, or files cannot be written there.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=SECONDS_BETWEEN_QUICK_TRIES)
        except Timeout:
            if not wait:
                raise UserError(
                    f"{option}={folder} is in use by another run; wait for it or name another "
                    "folder"
                ) from None
            log.info("another run is at %s; waiting for it", folder)
            lock.acquire(poll_interval=SECONDS_BETWEEN_TRIES)
    except OSError as error:
        raise UserError(
            f"{option}={folder} cannot be written: {error.strerror}; name another folder"
        ) from error
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = describe_disk_error(error)
        if reason is None:
            raise
        raise UserError(
            f"{option}={folder} cannot be written: {reason}; finished files there are unchanged: "
            "correct this and run the same command to resume"
        ) from error
    finally:
        lock.release()


@contextlib.contextmanager
def try_lock(file: pathlib.Path, patience: float = 0.0) -> Iterator[bool]:
    """Takes the lock of a file; yields False if another program has it.

    Args:
      patience: seconds until it gives up.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=patience, poll_interval=SECONDS_BETWEEN_QUICK_TRIES)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
