"""The inputs of the next steps are read in a thread while the current one runs."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

STEPS_AHEAD = 1
"""Each keeps a batch in the workers' shared memory (`rffr_jax/data/worker_errors.py`)."""

T = TypeVar("T")


def read_ahead(read: Callable[[int], T], steps: Iterable[int]) -> Generator[T, None, None]:
    """The results of `read` for steps in their order, from one thread.

    While the caller works on one, at most `STEPS_AHEAD` more are read. Close the generator
    (`contextlib.closing`) when you leave before its end: that ends the thread, after the read that
    is under way.

    Raises:
      Exception: whatever `read` raised, where its result is asked for.
    """
    reads: collections.deque[Future[T]] = collections.deque()
    with ThreadPoolExecutor(1, "read_ahead") as thread:
        try:
            for step in steps:
                reads.append(thread.submit(read, step))
                if len(reads) > STEPS_AHEAD:
                    yield reads.popleft().result()
            while reads:
                yield reads.popleft().result()
        finally:
            for unread in reads:
                unread.cancel()
