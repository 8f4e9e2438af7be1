"""A signal asks a run to stop: the loop saves, and the program ends with exit code 75."""

import signal
import threading
import time

from rffr_jax.cluster import processes

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SECONDS_BETWEEN = 2.0  # between two questions among the processes
_MOST_STEPS = 256


class InterruptedRunError(Exception):
    """The run was asked to stop and has saved its state; started again it resumes."""


class StopRequest:
    """A context that catches the signals of `SIGNALS`; `should_stop` says when to stop.

    One inside another is asked from the start if the outer one was, and hands on what it was asked
    when it ends.
    """

    def __init__(self):
        self._asked = False
        self._previous = {}
        self._next, self._steps = 0, 1
        self._since = time.monotonic()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {name: signal.signal(name, self._ask) for name in SIGNALS}
            self._asked |= any(outer._asked for outer in self._outer())
        return self

    def __exit__(self, *_):
        for name, handler in self._previous.items():
            signal.signal(name, handler)
        for outer in self._outer():
            outer._asked |= self._asked

    def _outer(self) -> set["StopRequest"]:
        """The one around this one, whose handlers it replaces."""
        found = (getattr(handler, "__self__", None) for handler in self._previous.values())
        return {request for request in found if isinstance(request, StopRequest)}

    def should_stop(self, step: int) -> bool:
        """Whether all processes stop at this step because one of them was asked to.

        A single process stops at once. Several ask each other about every `SECONDS_BETWEEN`, at
        steps that process 0 chooses by the time that its steps take, and all come to the same
        answer at the same step.

        Args:
          step: the next step; every process must call this at every step, in order.
        """
        if processes.process_count() == 1 or step < self._next:
            return self._asked and processes.process_count() == 1
        seconds = time.monotonic() - self._since
        fitting = max(1, int(self._steps * SECONDS_BETWEEN / max(seconds, 1e-3)))
        answers = processes.all_gather_objects(
            [self._asked, min(fitting, 2 * self._steps, _MOST_STEPS)]
        )
        self._steps = answers[0][1]
        self._next, self._since = step + self._steps, time.monotonic()
        return any(asked for asked, _ in answers)

    def _ask(self, *_):
        self._asked = True
