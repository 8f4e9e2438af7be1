"""One side of a row in a process of its own, which runs a repeat when it is told to.

So the repeats of several sides can take turns, each side has its own peak of memory, and none
finds its caches filled, or its memory taken, by another.
"""

import contextlib
import dataclasses
import importlib
import math
import multiprocessing
import os
import pathlib
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from scripts.benchmark.setup import Setup

SHORTEST_REPEAT = 0.2  # seconds; quicker calls are repeated within one repeat
PATIENCE = 10.0  # seconds until a process that was told to end is killed


class UnavailableError(Exception):
    """A contestant that cannot take part on this machine, with the reason."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a contestant can do once it has started.

    Attributes:
      run: does the work so many times and waits for the last.
      images: of one call.
      output: what the first calls gave, to be compared with the other side.
      flops: of all matrix products of one call.
      compile_seconds: to trace and compile, where that can be told from the first call.
      temporary_bytes: what the compiled program needs beside arguments and results.
      memory: bytes in use and their peak on the accelerator; None on a CPU.
    """

    run: Callable[[int], object]
    images: int
    output: np.ndarray | None = None
    flops: int | None = None
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    memory: Callable[[], tuple[int, int]] | None = None


Loaded = Callable[[], Work]
"""Weights and inputs are there; the call compiles, and runs for the first time."""


class Contestant:
    """A process with one side of a row.

    Args:
      function: `module:name` of a function from a `Setup` to `Loaded`.
    """

    def __init__(self, function: str, setup: Setup):
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, function, setup))
        self._process.start()
        there.close()

    def started(self) -> dict[str, Any]:
        """Waits until it is ready; what it says of itself.

        Raises:
          UnavailableError: it cannot take part, or failed.
        """
        return self._answer()

    def repeat(self) -> float:
        """Seconds of one call.

        Raises:
          UnavailableError: it failed.
        """
        self._tell("run")
        return self._answer()

    def finish(self) -> dict[str, Any]:
        """Ends it; what memory it took."""
        self._tell("finish")
        memory = self._answer()
        self.close()
        return memory

    def close(self):
        """Ends the process in any state."""
        self._pipe.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def kill(self):
        """Ends the process at once."""
        self._process.kill()
        self.close()

    def _tell(self, command: str):
        with contextlib.suppress(OSError):  # its end shows in the answer
            self._pipe.send(command)

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(PATIENCE)
            raise UnavailableError(
                f"its process ended with exit code {self._process.exitcode}"
            ) from None
        if kind == "unavailable":
            raise UnavailableError(value)
        return value


def _serve(pipe: Connection, function: str, setup: Setup):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    _fresh_caches(setup.folder)
    try:
        _answer_commands(pipe, function, setup)
    except (EOFError, BrokenPipeError):
        pass  # the parent has gone, or wants no more
    except UnavailableError as reason:
        pipe.send(("unavailable", str(reason)))
    except Exception as error:
        first, *_ = str(error).strip().splitlines() or [""]
        pipe.send(("unavailable", f"failed with {type(error).__name__}: {first[:200]}"))


def _answer_commands(pipe: Connection, function: str, setup: Setup):
    module, _, name = function.partition(":")
    start = getattr(importlib.import_module(module), name)(setup)
    base = _resident_bytes("VmRSS")
    began = time.perf_counter()
    work: Work = start()
    first_seconds = time.perf_counter() - began
    began = time.perf_counter()
    work.run(1)
    calls = math.ceil(SHORTEST_REPEAT / max(time.perf_counter() - began, 1e-6))
    _forget_peak()
    loaded = None if work.memory is None else work.memory()[0]
    said = {
        "images": work.images,
        "output": work.output,
        "flops": work.flops,
        "first_call_seconds": first_seconds,
        "compile_seconds": work.compile_seconds,
        "temporary_bytes": work.temporary_bytes,
    }
    pipe.send(("started", said))
    while pipe.recv() == "run":
        began = time.perf_counter()
        work.run(calls)
        pipe.send(("seconds", (time.perf_counter() - began) / calls))
    if work.memory is None or loaded is None:
        peak, place = _resident_bytes("VmHWM"), "host"
    else:
        base, peak, place = loaded, work.memory()[1], "device"
    pipe.send(("memory", {"place": place, "peak_bytes": peak, "before_bytes": base}))


def _fresh_caches(folder: pathlib.Path):
    """Compiles anew, takes accelerator memory as it is needed, and leaves nothing behind."""
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / f"inductor-{os.getpid()}")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # more would be processes of their own


def _forget_peak():
    """Starts the peak of resident memory again, so that compiling does not count; only on Linux."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def _resident_bytes(field: str) -> int:
    """Resident memory of this process now (VmRSS) or at its peak (VmHWM)."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024
