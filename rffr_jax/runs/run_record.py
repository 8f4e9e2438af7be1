"""`run.json` in the folder of a run: how it ended, and the seconds of all its parts together."""

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from rffr_jax.cluster.interruption import InterruptedRunError
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object, write_json

RECORD = "run.json"
RUNNING, DONE, STOPPED, FAILED = "running", "done", "stopped", "failed"
REFUSED = ""
NEW_RECORD = {"state": "", "done": False, "seconds": 0.0}


def read_record(folder: pathlib.Path) -> dict[str, Any]:
    """`state`, `done` and `seconds` of the run in a folder; `state` is "" where there is none.

    A run that was killed is "running" here; only its lock tells that it is not. `seconds` of a
    running part end at its last line of `metrics.jsonl`.
    """
    file, metrics = folder / RECORD, folder / "metrics.jsonl"
    if not file.exists():
        return NEW_RECORD
    record = NEW_RECORD | read_json_object(file)
    if record["state"] == RUNNING and metrics.exists():
        # The record was written when the part started.
        record["seconds"] += max(0.0, metrics.stat().st_mtime - file.stat().st_mtime)
    return record


@contextlib.contextmanager
def recorded_run(folder: pathlib.Path, **facts: str) -> Iterator[None]:
    """Writes the record of a run that is done inside the block.

    A command that is refused before it writes its config leaves the record as it was.

    Args:
      facts: kept in the record, too.
    """
    before, start, config = read_record(folder), time.monotonic(), _config_time(folder)
    end = FAILED
    try:
        write_json(folder / RECORD, before | facts | {"state": RUNNING, "done": False})
        yield
        end = DONE
    except (InterruptedRunError, KeyboardInterrupt):
        end = STOPPED
        raise
    except UserError:
        if _config_time(folder) == config:
            end = REFUSED
        raise
    finally:
        if end == REFUSED and before["state"]:
            write_json(folder / RECORD, before)
        elif end == REFUSED:
            (folder / RECORD).unlink(missing_ok=True)
        else:
            seconds = before["seconds"] + time.monotonic() - start
            now = {"state": end, "done": end == DONE, "seconds": seconds}
            write_json(folder / RECORD, before | facts | now)


def _config_time(folder: pathlib.Path) -> int:
    file = folder / "config.json"
    return file.stat().st_mtime_ns if file.exists() else 0
