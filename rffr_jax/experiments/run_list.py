"""The runs below a folder: state, settings, last step, loss, AUC and seconds of each.

Nothing here imports JAX, so that a list of runs is there at once.
"""

import contextlib
import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rffr_jax.config import flat
from rffr_jax.errors import UserError
from rffr_jax.reports.markdown_table import markdown_table
from rffr_jax.runs.lock import try_lock
from rffr_jax.runs.run_record import NEW_RECORD, RUNNING, STOPPED, read_record

NOT_RUNS = ("checkpoints", "compiled", "residuals", "tensorboard")
LOCKS = (".lock", ".worker")
WIDEST = 60
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class ListedRun:
    """A run as its folder shows it; None where it has no such number.

    Attributes:
      state: running, done, stopped, failed, or unknown where no whole `run.json` says.
      config: its settings by their dotted names.
      step: the last one in `metrics.jsonl`.
      loss, validation_loss: the last ones there.
      auc: in [0, 1].
      auc_of: what that is the AUC of.
      seconds: of all its parts together.
    """

    folder: pathlib.Path
    state: str
    config: Mapping[str, Any]
    step: int | None
    loss: float | None
    validation_loss: float | None
    auc: float | None
    auc_of: str
    seconds: float | None

    @property
    def job(self) -> str:
        return self.config["job"]


def find_runs(folder: pathlib.Path) -> list[ListedRun]:
    """All runs in a folder and below it, by their paths."""
    runs = []
    for place, subfolders, names in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if name not in NOT_RUNS)
        if "config.json" in names:
            config = flat(_read_object(pathlib.Path(place, "config.json")))
            if isinstance(config.get("job"), str):
                runs.append(_read_run(pathlib.Path(place), config))
    return runs


def _read_run(folder: pathlib.Path, config: Mapping[str, Any]) -> ListedRun:
    lines = list(_read_metrics(folder / "metrics.jsonl"))
    losses = {line["split"] == "train": line["loss"] for line in lines if "loss" in line}
    auc, auc_of = None, ""
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # results of another shape
        auc, auc_of = _read_auc(folder, lines)
    record = _read_record(folder)
    return ListedRun(
        folder=folder,
        state=_state(folder, record["state"]),
        config=config,
        step=lines[-1]["step"] if lines else None,
        loss=losses.get(True),
        validation_loss=losses.get(False),
        auc=auc,
        auc_of=auc_of,
        seconds=record["seconds"] if record["state"] else None,
    )


def _read_record(folder: pathlib.Path) -> dict[str, Any]:
    """The record of a run; a new one where it is damaged or cannot be read."""
    try:
        return read_record(folder)
    except (OSError, UserError):
        return NEW_RECORD


def _state(folder: pathlib.Path, recorded: str) -> str:
    """A run that was killed could not say so: it holds no lock any more.

    Where the folder is another user's, whose locks cannot be tried, the record is believed.
    """
    for name in LOCKS:
        if (folder / name).exists():
            try:
                with try_lock(folder / name) as free:
                    if not free:
                        return RUNNING
            except OSError:
                return recorded or UNKNOWN
    return STOPPED if recorded == RUNNING else recorded or UNKNOWN


def _read_object(file: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_metrics(file: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The lines of a log, without the one that is being written and without damaged ones."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and {"step", "split"} <= found.keys():
            yield found


def _read_auc(folder: pathlib.Path, lines: Sequence[Mapping[str, Any]]) -> tuple[float | None, str]:
    """Of the tests, else of the best validation, else of the last one."""
    results = _read_object(folder / "results.json")
    tests = {name: entry for name, entry in results.items() if name != "about"}
    for name, entry in tests.items():
        more = f" (first of {len(tests)})" if len(tests) > 1 else ""
        for mean in ("mean_unseen", "mean_all"):
            if entry.get(mean) is not None:
                return entry[mean], f"test {name}{more}, {mean}"
    bests = _read_object(folder / "best.json")
    if bests:
        name = max(bests, key=lambda one: len(bests[one]["methods"]))
        return bests[name]["auc"], f"best validation {name}, step {bests[name]['step']}"
    validations = [line for line in lines if line.get("auc") is not None]
    if validations:
        last = validations[-1]
        return last["auc"], f"validation {last['split']}, step {last['step']}"
    return None, ""


# ---- as a table


def changed_settings(run: ListedRun, default: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that differ from a default config of its job, by dotted names."""
    return {
        name: value
        for name, value in run.config.items()
        if default and value != default.get(name) and name not in ("job", "command")
    }


def table_of_runs(
    runs: Sequence[ListedRun], folder: pathlib.Path, settings: Callable[[ListedRun], dict[str, Any]]
) -> list[dict[str, str]]:
    """A line for each run, with its settings as KEY=VALUE in the column `settings`.

    Args:
      folder: that their names are relative to.
      settings: those of a run that are shown.
    """
    return [
        {
            "run": run.folder.relative_to(folder).as_posix(),
            "state": run.state,
            "job": run.job,
            "settings": "; ".join(f"{k}={_as_text(v)}" for k, v in settings(run).items()),
            "step": "" if run.step is None else str(run.step),
            "loss": _number(run.loss, 4),
            "validation_loss": _number(run.validation_loss, 4),
            "auc": _number(run.auc, 4),
            "auc_of": run.auc_of,
            "seconds": _number(run.seconds, 0),
        }
        for run in runs
    ]


def format_runs(lines: Sequence[Mapping[str, str]]) -> str:
    """An aligned table without empty columns; long settings are cut, and how many is said."""
    shown = [name for name in lines[0] if any(line[name] for line in lines)]
    cells = [
        [_cut(line[name]) if name == "settings" else line[name] for name in shown] for line in lines
    ]
    return markdown_table([[name.replace("_", " ") for name in shown], *cells])


def runs_as_csv(lines: Sequence[Mapping[str, str]]) -> str:
    """The same with all settings."""
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _cut(settings: str) -> str:
    entries = settings.split("; ")
    kept = len(entries)
    while kept > 1 and len("; ".join(entries[:kept])) > WIDEST:
        kept -= 1
    text = "; ".join(entries[:kept])
    return text if kept == len(entries) else f"{text}; and {len(entries) - kept} more"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
