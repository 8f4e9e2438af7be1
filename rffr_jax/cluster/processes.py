"""The processes of one run: how many, which is this, what they tell each other, how they end.

A process that ends, however it ends, takes the others along: JAX's coordination service misses its
heartbeat and aborts them, or the launcher ends them first (`srun --kill-on-bad-exit=1`). What is
started again then is the launcher's decision (`scripts/slurm/job.sh`).

With a single process nothing of this exists, and every function here answers at once.
"""

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from rffr_jax.cluster.launch import Launch
from rffr_jax.errors import UserError

log = logging.getLogger(__name__)

USER_MISTAKE, DEFECT = 2, 1
HEARTBEAT_TIMEOUT = 60  # seconds without a sign of life, after which a process is lost
START_WITHIN = 300  # seconds for all processes to come
COORDINATOR_STAYS = 3.0  # seconds, so that others who make the same mistake say so, too

_launch: Launch | None = None


def process_count() -> int:
    """The number of processes of this run; asks no device, unlike JAX's function of that name."""
    return _launch.processes if _launch else 1


def is_main_process() -> bool:
    """Whether this process writes what is written once: reports, pictures, metrics, tables."""
    return _launch is None or _launch.process == 0


def all_gather_objects(value: Any = None) -> list[Any]:
    """What all processes pass here, in their order; waits for all of them.

    Every process must come by the same calls in the same order.

    Args:
      value: anything that JSON can hold, small.
    """
    if _launch is None:
        return [value]
    import numpy as np
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(text.size))
    longest = 1 << int(lengths.max() - 1).bit_length()  # few shapes, so few programs
    padded = np.pad(text, (0, longest - text.size))
    texts = multihost_utils.process_allgather(padded)
    return [json.loads(row[:length].tobytes()) for row, length in zip(texts, lengths, strict=True)]


@contextlib.contextmanager
def join_processes(launch: Launch | None) -> Iterator[None]:
    """Joins the run's other processes, before any other use of JAX, until all are done.

    An error inside ends this process, a `UserError` with exit code 2 and anything else with 1, and
    so the others. It does not come back from that. Where an error is caused by a lost process, JAX
    aborts this one before it ends by itself.

    Raises:
      UserError: the other processes cannot be reached.
    """
    global _launch
    if launch is None:
        yield
        return
    import jax

    _initialize(launch)
    _launch = launch
    try:
        log.info("%d processes, %d devices in all", launch.processes, jax.device_count())
        yield
        all_gather_objects()
    except UserError as error:
        number = f"process {launch.process}: " if launch.process else ""
        print(f"rffr_jax: {number}{error}", file=sys.stderr)
        _end(USER_MISTAKE, after=0 if launch.process else COORDINATOR_STAYS)
    except Exception:
        traceback.print_exc()
        print(
            f"rffr_jax: process {launch.process} ends; if another one is lost, start all "
            f"{launch.processes} again: the run resumes from its last checkpoint",
            file=sys.stderr,
        )
        _end(DEFECT, after=2 * HEARTBEAT_TIMEOUT)  # a lost process is found within this time
    except BaseException:  # Ctrl-C
        traceback.print_exc()
        _end(DEFECT, after=0)
    _launch = None
    jax.distributed.shutdown()


def _initialize(launch: Launch):
    import jax

    try:
        jax.distributed.initialize(
            launch.coordinator or None,
            launch.processes,
            launch.process,
            local_device_ids=None if launch.local is None else [launch.local],
            # `deactivate`: what flags say is not to be mixed with what a launcher says.
            cluster_detection_method="deactivate" if launch.coordinator else launch.launcher,
            initialization_timeout=START_WITHIN,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        where = launch.coordinator or f"the coordinator that {launch.launcher} names"
        raise UserError(
            f"process {launch.process} of {launch.processes} did not meet the others at {where}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _end(code: int, after: float) -> NoReturn:
    """Ends this process without the barriers that JAX holds at a normal end."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(after)
    os._exit(code)
