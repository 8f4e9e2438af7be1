"""The folder of a run: one run at a time, and the config it was started with."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.whole_files import write_json


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir for this process; the lock dies with the process.

    Raises:
      UserError: another run holds it, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("w")
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"--workdir={workdir} is in use by another run; wait for it or name another folder"
            ) from error
        yield


def write_config(workdir: pathlib.Path, config: Config):
    """Writes config.json in one piece."""
    write_json(workdir / "config.json", config.to_dict())
