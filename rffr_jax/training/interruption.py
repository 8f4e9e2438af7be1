"""Stopping at a good point: a signal asks, the loop saves, the program ends with exit code 75."""

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class InterruptedRunError(Exception):
    """The run was asked to stop and has saved its state; started again it goes on."""


class StopRequest:
    """A context in which the signals of `SIGNALS` only set `asked`."""

    def __init__(self):
        self.asked = False
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {name: signal.signal(name, self._ask) for name in SIGNALS}
        return self

    def __exit__(self, *_):
        for name, handler in self._previous.items():
            signal.signal(name, handler)

    def _ask(self, *_):
        self.asked = True
