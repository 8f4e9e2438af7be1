"""The processes of one run: their number, their messages and their end.

When a process ends for any reason, the others end, too: JAX's coordination service misses its
heartbeat and aborts them, or the launcher ends them first (`srun --kill-on-bad-exit=1`). The
launcher decides what is started again (`scripts/slurm/job.sh`).

With a single process every function here returns at once.
"""

import contextlib
import json
import logging
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from rffr_jax.cluster.command_line import USER_MISTAKE
from rffr_jax.cluster.launch import KUBERNETES_INDEX, Launch
from rffr_jax.errors import UserError

log = logging.getLogger(__name__)

DEFECT = 1
HEARTBEAT_TIMEOUT = 60  # seconds without a heartbeat until a process counts as lost
START_TIMEOUT = 300  # seconds for all processes to start
KUBERNETES_START_TIMEOUT = 1800  # a pod may first have to get its image, or wait for a machine
COORDINATOR_DELAY = 3.0  # seconds, so that other processes report the same mistake

NVIDIA_GPUS = pathlib.Path("/proc/driver/nvidia/gpus")

_launch: Launch | None = None


def process_count() -> int:
    """The number of processes of this run; unlike JAX's function, it needs no device."""
    return _launch.processes if _launch else 1


def is_main_process() -> bool:
    """Whether this process writes the files that are written once, such as reports."""
    return _launch is None or _launch.process == 0


def all_gather_objects(value: Any = None) -> list[Any]:
    """The values of all processes, in the order of the processes; waits for all of them.

    Every process must make the same calls in the same order.

    Args:
      value: of this process; small, and of types that JSON has.
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
    """Joins the run's other processes, before any other use of JAX, until all have finished.

    An error inside ends this process, and with it the others: exit code 2 for a `UserError`, 1 for
    any other. If a lost process causes the error, JAX aborts this process earlier.

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
        _end(USER_MISTAKE, after=0 if launch.process else COORDINATOR_DELAY)
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


def _all_gpus() -> list[int] | None:
    """The numbers of all GPUs that this process sees; None where there is none.

    JAX takes the first GPU of a machine for the first task of a launcher unless it is told more, as
    by its own variable.
    """
    if os.environ.get("JAX_LOCAL_DEVICE_IDS"):
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return list(range(sum(1 for _ in NVIDIA_GPUS.glob("*")))) or None
    names = [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return list(range(len(names))) or None


def _initialize(launch: Launch):
    import jax

    devices = None if launch.local is None else [launch.local]
    if devices is None and not launch.coordinator:
        devices = _all_gpus()
    in_kubernetes = KUBERNETES_INDEX in os.environ
    try:
        jax.distributed.initialize(
            launch.coordinator or None,
            launch.processes,
            launch.process,
            local_device_ids=devices,
            # `deactivate`: flags and launcher are not mixed.
            cluster_detection_method="deactivate" if launch.coordinator else launch.launcher,
            initialization_timeout=KUBERNETES_START_TIMEOUT if in_kubernetes else START_TIMEOUT,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        where = launch.coordinator or f"the coordinator that {launch.launcher} names"
        raise UserError(
            f"process {launch.process} of {launch.processes} did not meet the others at {where}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _end(code: int, after: float) -> NoReturn:
    """Ends this process without the barriers of a normal end of JAX."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(after)
    os._exit(code)
