"""uvicorn's server, which finishes the uploads that it has when it is told to stop."""

import logging
import math
import time
from types import FrameType

import uvicorn

from rffr_jax.web.stop_signals import StopSignals
from rffr_jax.web.upload_queue import UploadQueue

log = logging.getLogger(__name__)


class GracefulServer(uvicorn.Server):
    """Stops at SIGTERM or Ctrl-C.

    At the first signal it refuses new uploads and ends when those that it has are answered. At the
    second one, or when the time is over, it ends the scoring processes; uploads that are not
    answered yet are then refused, too.
    """

    def __init__(
        self, settings: uvicorn.Config, uploads: UploadQueue, signals: StopSignals, seconds: float
    ):
        """
        Args:
          seconds: that accepted uploads may still take after the first signal.
        """
        super().__init__(settings)
        self._uploads, self._signals, self._seconds = uploads, signals, seconds
        self._deadline = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None):
        """Counts a signal; `on_tick` looks ten times a second."""
        self._signals.hear(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether the server ends now."""
        if self._signals.count and not self._uploads.stops:
            self._uploads.stop()
            self._deadline = time.monotonic() + self._seconds
            log.info(
                "no new uploads are taken; those that are here are finished within %g seconds; "
                "a second signal stops at once",
                self._seconds,
            )
        if self._signals.count > 1 or time.monotonic() >= self._deadline:
            await self._uploads.close()
            self.should_exit = True
        elif self._signals.count:
            self.should_exit = self._uploads.is_empty and not self.server_state.tasks
        return await super().on_tick(counter)
