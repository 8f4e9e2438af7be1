"""Checksums of a checkpoint's files: what tells a damaged checkpoint from a whole one.

Orbax notices files that are missing or too short, but not a flipped byte in an array. So every
checkpoint lists the size and the CRC-32 of each file of its items; the list is written before
Orbax gives the checkpoint its final name, so that no whole checkpoint is without it.
"""

import json
import pathlib
import zlib
from collections.abc import Sequence

from rffr_jax.runs.atomic_files import write_json

CHECKSUMS = "checksums.json"
PIECE = 16 * 2**20  # bytes read at a time


def write_checksums(checkpoint: pathlib.Path):
    """Writes `checksums.json` into a checkpoint whose items are complete."""
    files = sorted(path for path in checkpoint.glob("*/**/*") if path.is_file())
    sums = {path.relative_to(checkpoint).as_posix(): _checksum(path) for path in files}
    write_json(checkpoint / CHECKSUMS, sums)


def find_damage(checkpoint: pathlib.Path, items: Sequence[str]) -> str | None:
    """Why a checkpoint cannot be relied on, in a few words; None where its files are as written.

    Args:
      checkpoint: the folder of one step.
      items: the parts to look at, such as `parameters`.
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
        while piece := file.read(PIECE):
            size, value = size + len(piece), zlib.crc32(piece, value)
    return {"bytes": size, "crc32": value}
