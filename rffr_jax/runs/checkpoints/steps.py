"""The checkpoints of a folder, one for each step, and which of them are intact.

Orbax notices files that are missing or too short, but not a changed byte in an array. So every
checkpoint lists the size and the CRC-32 of each file of its items. The list is written before
Orbax gives the checkpoint its final name, so no finished checkpoint lacks it.
"""

import functools
import json
import logging
import pathlib
import zlib
from collections.abc import Sequence

from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import write_json

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
BYTES_PER_READ = 16 * 2**20


def saved_steps(folder: pathlib.Path) -> list[int]:
    """The steps in a folder, oldest first; Orbax gives unfinished ones other names."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())


def newest_intact_step(folder: pathlib.Path, items: Sequence[str], option: str = "") -> int:
    """The newest step whose items are intact; one warning names the damaged ones after it.

    Every process finds the same step, because it depends only on the disk.

    Args:
      folder: holds at least one step.
      items: the parts that will be read; damage of other parts does not matter.
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


def write_checksums(checkpoint: pathlib.Path):
    """Writes `checksums.json` into a checkpoint whose items are complete."""
    files = sorted(path for path in checkpoint.glob("*/**/*") if path.is_file())
    sums = {path.relative_to(checkpoint).as_posix(): _checksum(path) for path in files}
    write_json(checkpoint / CHECKSUMS, sums)


def find_damage(checkpoint: pathlib.Path, items: Sequence[str]) -> str | None:
    """Why a checkpoint is damaged, in a few words; None if its files are as they were written.

    Args:
      checkpoint: the folder of one step.
      items: the parts to check, such as `parameters`.
    """
    try:
        sums = json.loads((checkpoint / CHECKSUMS).read_text(encoding="utf-8"))
        if not isinstance(sums, dict):
            raise ValueError("not a table")
    except FileNotFoundError:
        return f"{CHECKSUMS} is missing"
    except (OSError, ValueError, RecursionError) as error:
        return f"{CHECKSUMS} cannot be read ({str(error).splitlines()[0]})"
    for item in items:
        files = {name: sums[name] for name in sums if name.startswith(f"{item}/")}
        if not files or not (checkpoint / item).is_dir():
            return f"{item} is missing"
        for name, written in files.items():
            path = checkpoint / name
            try:
                if path.stat().st_size != written["bytes"]:
                    return f"{name} has {path.stat().st_size} bytes instead of {written['bytes']}"
                if _checksum(path) != written:
                    return f"{name} holds other bytes than were written"
            except FileNotFoundError:
                return f"{name} is missing"
            except (OSError, TypeError, KeyError, ValueError) as error:
                return f"{name} cannot be read ({error})"
    return None


def _checksum(path: pathlib.Path) -> dict[str, int]:
    size, value = 0, 0
    with path.open("rb") as file:
        while piece := file.read(BYTES_PER_READ):
            size, value = size + len(piece), zlib.crc32(piece, value)
    return {"bytes": size, "crc32": value}


@functools.cache
def _warn_once(message: str):
    """Several places of one program read a checkpoint; its damage is reported once."""
    log.warning("%s", message)
