"""A trace of some steps, for TensorBoard's profile page or Perfetto."""

import logging
import pathlib
import re

import jax
from jaxtyping import PyTree

from rffr_jax.errors import UserError

log = logging.getLogger(__name__)


def profiled_steps(entry: str) -> range:
    """The steps that the config entry `profile` names: `10,20` is 10 to 20; empty is none.

    Raises:
      UserError: it names something else.
    """
    if not entry:
        return range(0)
    numbers = re.fullmatch(r"(\d+),(\d+)", entry)
    if not numbers or int(numbers[1]) > int(numbers[2]):
        raise UserError(
            f"profile={entry!r} must name the first and the last step to trace, such as "
            '--config.profile="10,20"'
        )
    return range(int(numbers[1]), int(numbers[2]) + 1)


class StepProfile:
    """Traces the steps of the config entry `profile` into WORKDIR/profile."""

    def __init__(self, entry: str, workdir: pathlib.Path):
        self._steps, self._folder = profiled_steps(entry), workdir / "profile"
        self._runs = False

    def before(self, step: int, state: PyTree):
        """Starts or ends the trace where this step is the first, or the first not to trace."""
        if step in self._steps and not self._runs:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder)
            self._runs = True
        elif step not in self._steps and self._runs:
            jax.block_until_ready(state)
            self.close()

    def close(self):
        """Writes the trace, if one runs."""
        if self._runs:
            self._runs = False
            jax.profiler.stop_trace()
            log.info("the profile is in %s", self._folder)
