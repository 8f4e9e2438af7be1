"""The checkpoints of a folder, one a step; which of them is the newest that is whole."""

import functools
import logging
import pathlib
from collections.abc import Sequence

from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.checksums import find_damage

log = logging.getLogger(__name__)


def saved_steps(folder: pathlib.Path) -> list[int]:
    """The steps in a folder, oldest first; Orbax names half-written ones otherwise."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def newest_intact_step(folder: pathlib.Path, items: Sequence[str], option: str = "") -> int:
    """The newest step whose items are as they were written; one warning names those passed over.

    Every process comes to the same step, because it depends on what is on the disk alone.

    Args:
      folder: holds at least one step.
      items: the parts that will be read; the damage of others does not matter.
      option: the config entry that named the folder, for messages.

    Raises:
      UserError: all of them are damaged.
    """
    where = f"{option}={folder}" if option else str(folder)
    reasons = []
    for step in reversed(saved_steps(folder)):
        reason = find_damage(folder / str(step), items)
        if reason is None:
            if reasons:
                _warn_once(f"{where}: {'; '.join(reasons)}; going back to step {step}")
            return step
        reasons.append(f"the checkpoint of step {step} is damaged: {reason}")
    raise UserError(
        f"{where} holds no whole checkpoint of this program ({'; '.join(reasons)}); put a copy "
        "back, or name another folder"
    )


@functools.cache
def _warn_once(message: str):
    """A checkpoint is read in several places of one program; its damage is told once."""
    log.warning("%s", message)
