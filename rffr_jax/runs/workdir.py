"""The folder of a run, and the config it was started with."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rffr_jax.cluster import processes
from rffr_jax.config import Config, flat
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object, remove_unfinished_files, write_json
from rffr_jax.runs.checkpoints.names import LATEST
from rffr_jax.runs.checkpoints.weights import is_checkpoint
from rffr_jax.runs.lock import locked_folder
from rffr_jax.runs.run_record import recorded_run

WITHOUT_EFFECT = (
    "save_every",
    "save_minutes",
    "log_every",
    "profile",
    "evaluation_batch_size",
    "data.workers",
    "data.cache",
    "mesh.fsdp",
    "remat",
    "sweep",
    "residuals.folder",
    "residuals.memory_gb",
)
"""Settings that leave the result as it is."""

MAY_CHANGE = (
    *WITHOUT_EFFECT,
    "evaluate_every",
    "data.max_bad_fraction",
    "mae",  # a MAE is known by its weights, wherever they lie, and so is a backbone
    "backbone.weights",
)
"""Settings that may change when a run resumes: none of them changes the weights."""

NAMED_AT_MOST = 5  # entries that differ

SHARED_FILE_TIMEOUT = 60.0  # seconds until a shared file system shows a new file


@contextlib.contextmanager
def locked_workdir(workdir: pathlib.Path) -> Iterator[None]:
    """Locks the folder for this run: process 0 takes the lock, and the others wait for it.

    Unfinished files of a run that was killed there are deleted; `run.json` says how this one ends.

    Raises:
      UserError: another run holds it, it cannot be written, or processes see different folders.
    """
    with contextlib.ExitStack() as stack:
        if processes.is_main_process():
            stack.enter_context(locked_folder(workdir))
            remove_unfinished_files(workdir)
            stack.enter_context(recorded_run(workdir))
        processes.all_gather_objects()
        _require_one_folder(workdir)
        yield
        processes.all_gather_objects()


def _require_one_folder(workdir: pathlib.Path):
    if processes.process_count() == 1:
        return
    end = time.monotonic() + SHARED_FILE_TIMEOUT
    while not (workdir / ".lock").exists() and time.monotonic() < end:
        time.sleep(0.5)
    seen = processes.all_gather_objects([(workdir / ".lock").exists(), has_saved_state(workdir)])
    for process, there in enumerate(seen):
        if there != seen[0]:
            raise UserError(
                f"process {process} does not see in --workdir={workdir} what process 0 sees; name "
                "a folder on a file system that all machines share"
            )


def has_saved_state(workdir: pathlib.Path) -> bool:
    """Whether a training has saved a state there, from which it would resume."""
    return is_checkpoint(workdir / LATEST)


def refuse_other_config(
    workdir: pathlib.Path,
    config: Config,
    *,
    begun: bool,
    may_change: Sequence[str] = MAY_CHANGE,
):
    """Refuses to resume a run that was begun with another config.

    Args:
      begun: whether there is anything to resume.
      may_change: entries that may differ.

    Raises:
      UserError: other entries differ; the first are named.
    """
    file = workdir / "config.json"
    if not begun or not file.exists():
        return
    here = flat(json.loads(json.dumps(config.to_dict())))
    there = flat(read_json_object(file))
    different = {
        name: f"{name}: {_shown(there, name)} there, {_shown(here, name)} in this config"
        for name in sorted(there.keys() | here.keys())
        if name not in may_change and _shown(there, name) != _shown(here, name)
    }
    if not different:
        return
    hint = "choose another --workdir or the old settings"
    if "steps" in different:
        hint += "; a run's schedule ends with its steps, so more steps are a new run"
        if config.job == "pretrain":
            hint += f", which can start from this one: --config.init_from={workdir}"
    listed = "; ".join(list(different.values())[:NAMED_AT_MOST])
    if len(different) > NAMED_AT_MOST:
        listed += f"; and {len(different) - NAMED_AT_MOST} more"
    raise UserError(f"{workdir} holds a run with other settings ({listed}); {hint}")


def write_config(workdir: pathlib.Path, config: Config):
    """Writes config.json in one piece; only process 0 does.

    Raises:
      UserError: another job's is there.
    """
    if not processes.is_main_process():
        return
    file = workdir / "config.json"
    if file.exists():
        job = read_json_object(file).get("job")
        if job != config.job:
            raise UserError(
                f"--workdir={workdir} holds a run of the job {job}; name another folder for "
                f"{config.job}"
            )
    write_json(file, config.to_dict())


def _shown(entries: dict[str, Any], name: str) -> str:
    return json.dumps(entries[name]) if name in entries else "nothing"
