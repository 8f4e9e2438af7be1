"""Runs of a grid, one after another in this process or several at once in processes of their own.

A run that is done says so in `run.json` beside what it wrote, with the seconds that it took; it
is not done again.
"""

import contextlib
import gc
import importlib
import json
import logging
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import jax

from rffr_jax.cluster.interruption import InterruptedRunError, StopRequest
from rffr_jax.errors import UserError
from rffr_jax.experiments import stored_config
from rffr_jax.experiments.grid import Run
from rffr_jax.runs.lock import in_use
from rffr_jax.runs.whole_files import write_json

log = logging.getLogger(__name__)

RECORD = "run.json"
LOG, STORED = "log.txt", "asked.json"
JOBS = {
    "pretrain": "rffr_jax.training.pretrain",
    "detect": "rffr_jax.training.detect",
    "evaluate": "rffr_jax.evaluation.evaluate",
    "residual": "rffr_jax.evaluation.residuals",
}
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_QUESTIONS = 5.0  # whether another run has left a folder
STOPPED_TEXT = "stopped; run the same command to go on"
SECONDS_TO_SAVE = 120.0  # after which a child that was asked to stop is killed
DONE, STOPPED = 0, 75


def run_all(runs: Sequence[Run], at_once: int):
    """Runs what is not done yet.

    Args:
      at_once: 1 runs in this process; more start as many processes, of which each sees one of
        the GPUs that this one sees, in turn.

    Raises:
      UserError: a run's own, or that of its process.
      InterruptedRunError: a signal asked to stop; every run has saved its state.
    """
    waiting = [run for run in runs if not is_done(run.folder)]
    log.info("%d runs, %d of them done already", len(runs), len(runs) - len(waiting))
    if at_once == 1:
        with StopRequest() as request:
            for number, run in enumerate(waiting, start=1):
                _run_here(run, f"run {number} of {len(waiting)}", request)
    elif waiting:
        _Children(waiting, at_once).run()


def _run_here(run: Run, name: str, request: StopRequest):
    while in_use(run.folder) and not request.agreed(0):
        log.info("%s: another run is at %s; waiting for it", name, run.folder)
        time.sleep(SECONDS_BETWEEN_QUESTIONS)
    if request.agreed(0):
        raise InterruptedRunError(STOPPED_TEXT)
    if is_done(run.folder):
        return
    log.info("%s: %s", name, run.folder)
    run.folder.mkdir(parents=True, exist_ok=True)
    with (
        _timed(run.folder),
        (run.folder / LOG).open("w", encoding="utf-8") as said,
        contextlib.redirect_stdout(said),
    ):
        importlib.import_module(JOBS[run.config.job]).run(run.config, run.folder)
    jax.clear_caches()
    gc.collect()


def is_done(folder: pathlib.Path) -> bool:
    """Whether a run has come to its end there."""
    return _record(folder)["done"]


def seconds_of(folder: pathlib.Path) -> float:
    """What a run has taken, all its parts together if it was stopped between."""
    return _record(folder)["seconds"]


def _record(folder: pathlib.Path) -> dict:
    file = folder / RECORD
    if not file.exists():
        return {"done": False, "seconds": 0.0}
    return json.loads(file.read_text(encoding="utf-8"))


@contextlib.contextmanager
def _timed(folder: pathlib.Path) -> Iterator[None]:
    before, start, done = seconds_of(folder), time.monotonic(), False
    try:
        yield
        done = True
    finally:
        seconds = before + time.monotonic() - start
        write_json(folder / RECORD, {"done": done, "seconds": seconds})


class _Children:
    """Runs in processes of their own, as many at once as there are places."""

    def __init__(self, runs: Sequence[Run], places: int):
        self._waiting = list(runs)
        self._total = len(runs)
        self._free = list(range(places))
        self._running: dict[subprocess.Popen, tuple[Run, int, contextlib.ExitStack]] = {}
        self._failure: UserError | None = None
        self._stopped = False
        self._kill_at = math.inf

    def run(self):
        """Until all are done, one fails or a signal asks to stop."""
        try:
            with StopRequest() as request, _hangup_as_stop():
                while self._running or (self._waiting and not self._ends):
                    if request.agreed(0) and not self._stopped:
                        self._stopped = True
                        self._ask_to_stop()
                    if not self._ends:
                        self._start_some()
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                    self._look()
                    if time.monotonic() > self._kill_at:
                        break
        finally:
            self._end()
        if self._failure:
            raise self._failure
        if self._stopped:
            raise InterruptedRunError(STOPPED_TEXT)

    @property
    def _ends(self) -> bool:
        return self._stopped or self._failure is not None

    def _start_some(self):
        """Runs that another program is at wait, and may be done when it leaves them."""
        for run in list(self._waiting):
            if not self._free:
                return
            if in_use(run.folder):
                continue
            self._waiting.remove(run)
            if not is_done(run.folder):
                self._start(run, self._free.pop(0))

    def _start(self, run: Run, place: int):
        number = self._total - len(self._waiting)
        log.info("run %d of %d: %s", number, self._total, run.folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / STORED, run.config.to_dict())
        command = [
            *(sys.executable, "-m", "rffr_jax.main"),
            f"--config={stored_config.__file__}:{run.folder / STORED}",
            f"--workdir={run.folder}",
        ]
        stack = contextlib.ExitStack()
        output = stack.enter_context((run.folder / LOG).open("w"))
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_compiled(), **_place(place)},
            start_new_session=True,  # a Ctrl-C of the terminal reaches it once, from here
        )
        stack.enter_context(_timed_child(run, child))
        self._running[child] = (run, place, stack)

    def _look(self):
        for child in [child for child in self._running if child.poll() is not None]:
            run, place, stack = self._running.pop(child)
            stack.close()
            self._free.append(place)
            if child.returncode in (STOPPED, -signal.SIGTERM):  # the latter before it could listen
                self._stopped = True
            elif child.returncode != DONE and self._failure is None:
                self._failure = _failure(run, child.returncode)
                self._ask_to_stop()

    def _ask_to_stop(self):
        self._kill_at = min(self._kill_at, time.monotonic() + SECONDS_TO_SAVE)
        for child in self._running:
            child.terminate()

    def _end(self):
        """Leaves no process behind, whatever happened."""
        self._ask_to_stop()
        for child, (_, _, stack) in self._running.items():
            try:
                child.wait(max(0.0, self._kill_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            stack.close()


@contextlib.contextmanager
def _hangup_as_stop() -> Iterator[None]:
    """A terminal that closes asks to stop, as its signal does not reach the children."""
    before = signal.getsignal(signal.SIGHUP)
    if before is not signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def _timed_child(run: Run, child: subprocess.Popen) -> Iterator[None]:
    """Writes what a process took, once it has ended, and whether it did what it should."""
    before, start = seconds_of(run.folder), time.monotonic()
    yield
    record = {
        "done": child.returncode == DONE,
        "seconds": before + time.monotonic() - start,
    }
    write_json(run.folder / RECORD, record)


def _compiled() -> dict[str, str]:
    """The environment in which a process finds the programs that others have compiled."""
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return {"JAX_COMPILATION_CACHE_DIR": folder} if folder else {}


def _place(place: int) -> dict[str, str]:
    """The environment in which a process sees one of the GPUs; nothing without GPUs."""
    if jax.default_backend() != "gpu":
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else list(map(str, range(jax.local_device_count())))
    return {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]}


def _failure(run: Run, code: int) -> UserError:
    lines = (run.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    last = said[-1].removeprefix("rffr_jax: ") if said else "it said nothing"
    return UserError(f"the run in {run.folder} ended with code {code}: {last} (see {LOG} there)")
