"""Freed memory that a training on a CPU keeps, instead of asking the system for it at every step.

XLA allocates all temporary memory of a program as one block at every call and frees it afterwards.
glibc returns such a block to the system, so every step pays for its page faults: a third of a
step's time (docs/benchmarks.md). Only glibc has the settings that are used here.
"""

import ctypes
import os
from collections.abc import Mapping

VARIABLE = "RFFR_JAX_KEEP_MEMORY"
ARENA_BYTES = 64 * 2**20
"""The most that glibc's arena of a thread holds, and XLA allocates in a thread of its own."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8  # of malloc.h
_IN_ARENAS = ((_MMAP_THRESHOLD, 2**30), (_TRIM_THRESHOLD, 2**31 - 1))
_IN_ONE_HEAP = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
_description = "freed memory is returned to the system: nothing asked to keep it"
_ACCELERATORS = ("/dev/nvidia0", "/dev/kfd", "/dev/accel0", "/dev/vfio")


def keep_freed_memory(step_bytes: int, environment: Mapping[str, str] = os.environ) -> str:
    """Lets this process keep memory that it frees, where trainings on a CPU are faster so.

    To be called before JAX computes anything. Nothing changes on another C library than glibc, on
    a machine with a GPU or TPU, or with RFFR_JAX_KEEP_MEMORY=0. Where it does, a process takes as
    much memory as its largest step needed, until it ends.

    Args:
      step_bytes: temporary memory of a training step. Steps of less than 64 MB stay in the arenas
        of XLA's threads, which is faster; larger ones need one heap for all threads.

    Returns:
      What happens with freed memory and why, which `description` gives from now on.
    """
    global _description
    _description = _set_options(step_bytes, environment)
    return _description


def description() -> str:
    """What happens with freed memory and why, for the log of a training."""
    return _description


def _set_options(step_bytes: int, environment: Mapping[str, str]) -> str:
    reason = why_not(environment)
    if reason:
        return f"freed memory is returned to the system: {reason}"
    options = _IN_ARENAS if step_bytes < ARENA_BYTES else _IN_ONE_HEAP
    library = ctypes.CDLL(None)
    for option, value in options:
        library.mallopt(option, value)
    place = "the arena of each thread" if options is _IN_ARENAS else "one heap"
    return f"freed memory is kept in {place}; {VARIABLE}=0 turns this off"


def why_not(environment: Mapping[str, str] = os.environ) -> str:
    """Why freed memory is not kept on this machine; empty where it is."""
    if environment.get(VARIABLE, "1") == "0":
        return f"{VARIABLE}=0"
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        return "the C library is not glibc"
    if environment.get("JAX_PLATFORMS") != "cpu" and any(map(os.path.exists, _ACCELERATORS)):
        return "a GPU or TPU computes"
    return ""
