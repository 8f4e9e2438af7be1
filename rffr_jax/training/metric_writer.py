"""metrics.jsonl and TensorBoard events of one run."""

import json
import math
import pathlib
from collections.abc import Mapping

import tensorboardX


class MetricWriter:
    """Appends one JSON object a line: {"step": ..., "split": ..., name: number, ...}.

    A run that resumes at a step cuts both records back to it, so that they read as if it had
    never been interrupted.
    """

    def __init__(self, workdir: pathlib.Path, resumed_step: int):
        self._path = workdir / "metrics.jsonl"
        _cut_back(self._path, resumed_step)
        self._file = self._path.open("a")
        self._events = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=resumed_step + 1, max_queue=1000
        )

    def write(self, step: int, split: str, values: Mapping[str, float]):
        """Writes one line; a number that is not finite is written as null."""
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "split": split, **finite}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def close(self):
        self._file.close()
        self._events.close()


def _cut_back(path: pathlib.Path, step: int):
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                continue
        except ValueError:
            continue  # a line that was half written when the run died
        kept.append(line)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)
