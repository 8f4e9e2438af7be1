"""What can go wrong with the worker processes that read images: shared memory, and their end.

Workers hand their batches over in shared memory, files in /dev/shm. A container has 64 MB of it
unless told otherwise. A worker that finds it full dies of SIGBUS.
"""

import contextlib
import math
import os
import re
import signal
from collections.abc import Iterator

from rffr_jax.errors import UserError

BATCHES_AHEAD = 4  # of each worker
SHARED_MEMORY = "/dev/shm"
_BATCHES_IN_HAND = 4  # of the process that the workers read for; Grain frees them in a thread
_PIECE = 4096  # bytes; each of the four arrays of a batch takes whole ones
_LEAVE_OUT = "set --config.data.workers=0"


def check_shared_memory(batches: int, rows: int, size: int, workers: int):
    """Refuses workers whose batches do not fit into shared memory.

    Args:
      batches: how many will be read.
      rows: of a batch of this process.
      size: height and width of the images, in pixels.
      workers: worker processes; nothing is checked where there are none.

    Raises:
      UserError: less is free than the batches that are read ahead can take.
    """
    needed, free = _shared_memory(batches, rows, size, workers)
    if free < needed:
        raise UserError(
            f"data.workers={workers} with batches of {rows} images of {size} px needs "
            f"{needed / 2**20:.0f} MB of shared memory, and {SHARED_MEMORY} has {free / 2**20:.0f} "
            f"MB free; start the container with more (Docker: --shm-size={_gigabytes(needed)}g), "
            f"or {_LEAVE_OUT}"
        )


def has_shared_memory(batches: int, rows: int, size: int, workers: int) -> bool:
    """Whether `check_shared_memory` finds enough."""
    needed, free = _shared_memory(batches, rows, size, workers)
    return free >= needed


def _shared_memory(batches: int, rows: int, size: int, workers: int) -> tuple[int, int]:
    """Bytes that are needed, and those that are free; nothing is needed where it is not used."""
    if not workers or not os.path.isdir(SHARED_MEMORY):
        return 0, 0
    at_once = min(batches, BATCHES_AHEAD * workers + _BATCHES_IN_HAND)
    found = os.statvfs(SHARED_MEMORY)
    return at_once * (rows * size * size * 3 + 4 * _PIECE), found.f_bavail * found.f_frsize


def _gigabytes(needed: int) -> int:
    return math.ceil(2 * needed / 2**30)  # evaluations have workers of their own


@contextlib.contextmanager
def worker_deaths_as_user_errors() -> Iterator[None]:
    """Raises: UserError if a worker process of Grain's dies."""
    try:
        yield
    except RuntimeError as error:
        found = re.search(r"Worker process was terminated .* exit code (-?\d+)", str(error))
        if found is None:
            raise
        raise UserError(f"a data worker died: {_explain_exit(int(found[1]))}") from error


def _explain_exit(code: int) -> str:
    if code == -signal.SIGBUS:
        return (
            f"{SHARED_MEMORY} is full; start the container with more (Docker: --shm-size=8g), or "
            f"{_LEAVE_OUT}, and start the same command again to resume"
        )
    if code == -signal.SIGKILL:
        return (
            "something killed it, most likely the system because memory ran out; start the same "
            "command again to resume, with fewer --config.data.workers or a smaller batch"
        )
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return (
        f"{ended}, what it said stands above; start the same command again to resume, or "
        f"{_LEAVE_OUT} to see the error where it is raised"
    )
