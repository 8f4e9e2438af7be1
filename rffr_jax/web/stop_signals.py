"""The signals that ask a server to stop."""

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Counts SIGTERM and Ctrl-C while its block runs.

    After a first one the program ends, so further ones are only counted to its end. A block inside
    another one goes on with its count.

    Attributes:
      count: of the signals so far.
    """

    count = 0
    _outer: "StopSignals | None" = None

    def __enter__(self) -> "StopSignals":
        self._before = {name: signal.signal(name, self.hear) for name in SIGNALS}
        outer = getattr(self._before[SIGNALS[0]], "__self__", None)
        if isinstance(outer, StopSignals):
            self._outer = outer
            self.count += outer.count
        return self

    def __exit__(self, *_: object):
        if not self.count:
            for name, handler in self._before.items():
                signal.signal(name, handler)

    def hear(self, sig: int, frame: FrameType | None):
        """A handler of signals."""
        self.count += 1
        if self._outer:
            self._outer.hear(sig, frame)
