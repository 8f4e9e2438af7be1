"""metrics.jsonl and TensorBoard events of one run."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore
from tensorboardX.summary import scalar

from rffr_jax.runs.atomic_files import write_text


class MetricWriter:
    """Appends one JSON object a line: {"step": ..., "split": ..., name: number, ...}.

    A run that resumes at a step removes later entries from both records, as if it had never been
    interrupted. A line is on the disk when `write` returns.
    """

    def __init__(self, workdir: pathlib.Path, resumed_step: int):
        path = workdir / "metrics.jsonl"
        _truncate(path, resumed_step)
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("a", encoding="utf-8"))
            folder = workdir / "tensorboard"
            folder.mkdir(exist_ok=True)
            # tensorboardX.SummaryWriter writes in a thread, which a full disk leaves hanging.
            self._events = stack.enter_context(closing(EventsWriter(str(folder / "events"))))
            purge = SessionLog(status=SessionLog.START)
            self._events.write_event(
                Event(wall_time=time.time(), step=resumed_step + 1, session_log=purge)
            )
            self._open = stack.pop_all()

    def write(self, step: int, split: str, values: Mapping[str, float]):
        """Writes one line; a number that is not finite is null, and left out in TensorBoard."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        line = {"step": step, "split": split, **dict.fromkeys(values), **finite}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        for name, value in finite.items():
            summary = scalar(f"{split}/{name}", value)
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._events.flush()

    def close(self):
        """Closes the files."""
        self._open.close()


def _truncate(path: pathlib.Path, step: int):
    """Removes later lines, and lines that were half written when a run died."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, TypeError, KeyError):
            continue
    write_text(path, "".join(kept))
