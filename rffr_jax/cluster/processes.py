"""What the processes of one run say to each other: that they live, that they end, and why.

JAX's coordination service, which process 0 hosts, carries it: small texts between hosts, no work
of the devices. Each process writes one record a second and reads those of all:

- a process that ends (a mistake of the user, a defect) takes all others along with its exit code
  and its one line, wherever they wait;
- a process whose record stands still is lost, and so is the coordinator that no longer answers: the
  others say which and end with `LOST`, to be started again from the last checkpoint.

With a single process nothing of this exists, and every function here answers at once.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from rffr_jax.cluster.launch import Launch
from rffr_jax.errors import UserError

log = logging.getLogger(__name__)

USER_MISTAKE, DEFECT, LOST = 2, 1, 75
BEAT = 1.0  # seconds between two looks at the others
LOST_AFTER = 60  # looks without a sign of life
START_WITHIN = 300  # seconds for all processes to come
_LAST_WORDS = 10.0  # seconds that an ending process waits for the others to hear it
_FOREVER = 10**9  # milliseconds; a wait ends with its processes


class _Run:
    """This process among the others."""

    def __init__(self, launch: Launch, client: Any, coordinator: str):
        self.launch, self.client, self._coordinator = launch, client, coordinator
        self.rounds = 0
        self._record: dict[str, Any] = {"beat": 0}
        self._others: dict[int, dict[str, Any]] = {}
        self._silent: dict[int, int] = {}
        self._waited = self._looks = 0
        self._closing = threading.Event()
        self._leaving = threading.Lock()
        self._threads = [
            threading.Thread(target=loop, daemon=True) for loop in (self._look, self._judge)
        ]

    def watch(self):
        for thread in self._threads:
            thread.start()

    def close(self):
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def end(self, code: int, text: str, told_by: int | None = None, heard: bool = True) -> NoReturn:
        """Ends this process, and by its last record all others.

        Of processes that end for the same reason the first one says it; of those that were told to
        end by another one, process 0.

        Args:
          told_by: the process that ended first, where it was not this one.
          heard: whether there is a coordinator to take the record.
        """
        me = self.launch.process
        with self._leaving:  # held for good: the first reason stands
            self._closing.set()
            self._record["ended"] = [code, text, told_by]
            if heard:
                with contextlib.suppress(Exception):
                    self._last_words()
            reasons = [other.get("ended") for p, other in self._others.items() if p < me]
            if told_by is None and [code, text, None] not in reasons:
                print(f"rffr_jax: {text}", file=sys.stderr)
            if told_by is not None and me == 0:
                print(f"rffr_jax: process {told_by} ended the run: {text}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # without the barriers that JAX holds at a normal end

    def _last_words(self):
        """Waits until all processes end. Process 0 leaves last: the records are in its hands."""
        end = time.monotonic() + _LAST_WORDS
        while time.monotonic() < end:
            self._exchange()
            if sum("ended" in other for other in self._others.values()) == self.launch.processes:
                time.sleep(BEAT if self.launch.process == 0 else 0)
                return
            time.sleep(BEAT / 4)

    def _exchange(self):
        self._record["beat"] += 1
        mine = json.dumps(self._record)
        self.client.key_value_set(f"rffr_jax/records/{self.launch.process}", mine, True)
        records = self.client.key_value_dir_get("rffr_jax/records/")
        self._others = {int(key.rpartition("/")[2]): json.loads(text) for key, text in records}

    def _look(self):
        while not self._closing.wait(BEAT):
            before = self._others
            try:
                self._exchange()
            except Exception:
                continue  # `_judge` finds out what it means
            self._waited = 0
            self._looks += 1
            for process in range(self.launch.processes):
                stands = before.get(process) == self._others.get(process)
                self._silent[process] = self._silent.get(process, 0) + 1 if stands else 0

    def _judge(self):
        """A thread of its own, because a look hangs when the coordinator is gone."""
        while not self._closing.wait(BEAT / 2):  # counts, so that a suspended run is not lost
            self._end_with_the_others()
            self._waited += 1
            if self._waited > 2 * LOST_AFTER or (self._waited > 3 and self._refuses()):
                self._lost([0])

    def _end_with_the_others(self):
        for process, record in sorted(self._others.items()):
            if "ended" in record and process != self.launch.process:
                code, text, told_by = record["ended"]
                self.end(code, text, process if told_by is None else told_by)
        lost = [p for p, looks in self._silent.items() if looks >= LOST_AFTER]
        if lost:
            self._lost(lost)

    def find_the_lost(self):
        """Looks at the others for as long as it takes to lose one; ends this process if one is."""
        enough = self._looks + LOST_AFTER + 1
        while self._looks < enough:  # `_judge` ends a process whose looks are not answered
            time.sleep(BEAT)
        self._end_with_the_others()

    def _refuses(self) -> bool:
        """Whether nobody listens where the coordinator was: its process is gone, not just slow."""
        host, _, port = self._coordinator.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def _lost(self, processes: list[int]) -> NoReturn:
        who = "process " + " and ".join(map(str, processes))
        if processes == [0]:
            who += ", the coordinator,"
        verb = "is" if len(processes) == 1 else "are"
        text = (
            f"{who} {verb} gone; the last checkpoint is whole: start all {self.launch.processes} "
            "processes again to go on"
        )
        self.end(LOST, text, heard=0 not in processes)


_run: _Run | None = None


def count() -> int:
    """The number of processes of this run."""
    return _run.launch.processes if _run else 1


def is_first() -> bool:
    """Whether this process writes what is written once: reports, pictures, metrics, tables."""
    return _run is None or _run.launch.process == 0


def of_everyone(value: Any = None) -> list[Any]:
    """What all processes pass here, in their order; waits for all of them.

    Every process must come by the same calls in the same order. No device takes part.

    Args:
      value: anything that JSON can hold, small.
    """
    if _run is None:
        return [value]
    _run.rounds += 1
    place = f"rffr_jax/rounds/{_run.rounds}/"
    _run.client.key_value_set(f"{place}{_run.launch.process:06d}", json.dumps(value))
    _run.client.wait_at_barrier(place, _FOREVER)
    said = sorted(_run.client.key_value_dir_get(place))
    if _run.rounds > 1:  # all have read the round before, or they would not have come to this one
        before = f"rffr_jax/rounds/{_run.rounds - 1}/{_run.launch.process:06d}"
        _run.client.key_value_delete(before)
    return [json.loads(text) for _, text in said]


@contextlib.contextmanager
def joined(launch: Launch | None) -> Iterator[None]:
    """Joins the run's other processes, before any other use of JAX, until all are done.

    An error inside ends this process and all others: a `UserError` with exit code 2, what a lost
    process caused with 75, anything else with 1. It does not come back from that.

    Raises:
      UserError: the other processes cannot be reached.
    """
    global _run
    if launch is None:
        yield
        return
    import jax

    _give_time_to_speak()
    run = _Run(launch, *_connected(launch))
    run.watch()
    _run = run
    try:
        log.info("%d processes, %d devices in all", launch.processes, jax.device_count())
        yield
        of_everyone()
    except UserError as error:
        run.end(USER_MISTAKE, str(error))
    except BaseException as error:
        if _comes_from_jax(error):  # by a lost process, it may be
            run.find_the_lost()
        traceback.print_exc()
        run.end(DEFECT, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    _run = None
    run.close()
    jax.distributed.shutdown()


def _connected(launch: Launch) -> tuple[Any, str]:
    """JAX's client of the coordination service, and where that is."""
    import jax
    from jax._src import distributed  # the texts between hosts have no public name

    # `deactivate`: what flags say is not to be mixed with what a launcher says.
    method = launch.launcher if not launch.coordinator else "deactivate"
    try:
        jax.distributed.initialize(
            launch.coordinator or None,
            launch.processes,
            launch.process,
            local_device_ids=None if launch.local is None else [launch.local],
            cluster_detection_method=method,
            initialization_timeout=START_WITHIN,
        )
    except (RuntimeError, ValueError) as error:
        where = launch.coordinator or f"the coordinator that {launch.launcher} names"
        raise UserError(
            f"process {launch.process} of {launch.processes} did not meet the others at {where}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    return distributed.global_state.client, str(distributed.global_state.coordinator_address)


def _comes_from_jax(error: BaseException | None) -> bool:
    """Whether JAX raised it: in its own type (the coordination service, called from here, too) or,
    where a collective breaks, as a ValueError out of its own code."""
    import jax

    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return True
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if frames and frames[-1].f_globals.get("__name__", "").split(".")[0] == "jax":
            return True
        error = error.__cause__ or error.__context__
    return False


def _give_time_to_speak():
    """Six seconds between an abort of JAX and its effect.

    JAX aborts a process as soon as the coordinator is gone, in C++. The signal's handler is
    libc's `sleep`, called with the number of the signal as its argument, so that the thread that
    watches has time to say which process is gone and to end this one with `LOST`.
    """
    libc = ctypes.CDLL(None)
    libc.signal(int(signal.SIGABRT), libc.sleep)
