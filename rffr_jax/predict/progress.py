"""How far a run over many files is: a bar on a terminal, lines in the log elsewhere."""

import logging
import time

import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """A bar with files/s and the time left; lines in the log where there is no terminal."""

    def __init__(self, total: int):
        self._bar = tqdm.tqdm(total=total, unit=" files", disable=None, smoothing=0.05)
        self._begun = self._told = time.monotonic()
        self._total, self._done = total, 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_):
        self._bar.close()

    def add(self, files: int):
        """Counts files as done; writes a line now and then where there is no terminal."""
        self._done += files
        self._bar.update(files)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / rate
            log.info(
                "%d of %d files, %.2f files/s, %.0f s left", self._done, self._total, rate, left
            )
