"""The task of each medium, and the runners that do it: in this process or several of this machine.

`beam` has a runner for many machines.
"""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from rffr_jax.cluster.blocked_signals import blocked_signals
from rffr_jax.errors import UserError
from rffr_jax.faces.media import Medium
from rffr_jax.faces.part_file import Part, read_part, write_part
from rffr_jax.faces.prepare import PreparationSettings, input_digest, prepare_medium

_STOPPING = {signal.SIGINT, signal.SIGTERM}
_TASKS_AHEAD = 16  # of each worker; a data set may have millions of media


@dataclasses.dataclass(frozen=True)
class Task:
    """A medium that is to be prepared.

    Attributes:
      original: the file of the real medium that a fake was made from, where it is there.
      fake: of a real medium, the file of a fake of it, where it is there.
      mask: of the fake, where it is there.
    """

    medium: Medium
    original: pathlib.Path | None = None
    fake: pathlib.Path | None = None
    mask: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Work:
    """How media are prepared and where their parts go; it travels with every task, so it is small.

    Attributes:
      folder: of the parts.
    """

    folder: pathlib.Path
    settings: PreparationSettings

    def prepare(self, task: Task) -> str:
        """Prepares one medium and writes its part; the function that every runner maps.

        Doing it twice changes nothing.

        Returns:
          The medium's id.
        """
        try:
            part = prepare_medium(
                task.medium, task.original, self.settings, fake=task.fake, mask=task.mask
            )
        except Exception as error:
            error.add_note(f"while preparing {task.medium.id} ({task.medium.path})")
            raise
        write_part(self._path(task.medium), part)
        return task.medium.id

    def done(self, task: Task) -> bool:
        """Whether the part is there, whole, and of the medium and its files as they are now."""
        try:
            part = self.part(task.medium, images=False)
        except (FileNotFoundError, ValueError):
            return False
        return part.stamp == input_digest(task.medium, task.original, task.fake, task.mask)

    def part(self, medium: Medium, *, images: bool = True) -> Part:
        """What a medium gave; without `images` their bytes are left empty."""
        return read_part(self._path(medium), images=images)

    def _path(self, medium: Medium) -> pathlib.Path:
        digest = hashlib.sha256(medium.id.encode()).hexdigest()[:24]
        return self.folder / digest[:2] / f"{digest}.part"


Runner = Callable[[Work, Sequence[Task]], Iterable[str]]
"""Calls `Work.prepare` for every task; yields the id of each medium that is done."""


def run_sequentially(work: Work, tasks: Sequence[Task]) -> Iterator[str]:
    """One medium after another."""
    return map(work.prepare, tasks)


def process_runner(count: int) -> Runner:
    """A runner with so many worker processes, each with a detector of its own.

    Signals that ask to stop reach only the main process; the workers end when it ends. A worker
    that died while it handed over a result would leave the main process waiting.
    """
    ahead = count * _TASKS_AHEAD

    def run(work: Work, tasks: Sequence[Task]) -> Iterator[str]:
        others = set(multiprocessing.active_children())
        pool = concurrent.futures.ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), initializer=_begin_worker
        )
        try:
            futures = (pool.submit(work.prepare, task) for task in tasks)
            with blocked_signals(_STOPPING):
                running = set(itertools.islice(futures, ahead))
            while running:
                done, running = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                running.update(itertools.islice(futures, len(done)))
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()  # the pool's SIGTERM does not reach them
            # Tasks are begun in their order: it was one of the first that are not done.
            left = (task.medium.id for task in tasks if not work.done(task))
            at_work = itertools.islice(left, count)
            raise UserError(
                f"a worker process died, at work on {' or '.join(at_work)} (out of memory, or a "
                "file that breaks the decoder?); start the same command again to resume, with "
                "fewer --workers or without that file if it happens again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

    return run


def _begin_worker():
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent():
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
