"""When a run saves: after so many minutes, and after so many steps where that is asked for."""

import time

from rffr_jax.cluster import processes


class SaveTimes:
    """The steps at which a run saves, the same in all processes."""

    def __init__(self, every: int, minutes: float):
        """
        Args:
          every: steps from one save to the next; 0 goes by minutes only.
          minutes: from one save to the next, by the clock of process 0; 0 goes by steps only.
        """
        self._every, self._minutes = every, minutes
        self._late = False
        self._since = time.monotonic()

    def ask(self):
        """Asks process 0 whether it is time; every process must call this at the same steps."""
        if self._minutes:
            minutes = (time.monotonic() - self._since) / 60
            self._late = processes.all_gather_objects(minutes >= self._minutes)[0]

    def is_due(self, step: int) -> bool:
        """Whether the state before this step is saved."""
        return self._late or bool(self._every and step % self._every == 0)

    def saved(self):
        """The state was saved: the next minutes begin."""
        self._late, self._since = False, time.monotonic()
