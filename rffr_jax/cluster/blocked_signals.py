"""Signals that processes must not die of while they start, before they can ignore them."""

import contextlib
import signal
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker


@contextlib.contextmanager
def blocked_signals(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Holds signals back; processes started meanwhile are born with them held back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        resource_tracker.ensure_running()  # lets signals through where it is not running yet
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
