"""The folder of a run, and the config it was started with."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from rffr_jax.checkpoints.weights import (
    LATEST,
    is_checkpoint,
)
from rffr_jax.config import Config
from rffr_jax.errors import UserError
from rffr_jax.whole_files import write_json

MAY_CHANGE = (
    "evaluate_every",
    "save_every",
    "log_every",
    "evaluation_batch_size",
    "data.workers",
    "data.cache",
    "data.max_bad_fraction",
    "mesh.fsdp",
    "remat",
    "residuals.folder",
    "residuals.memory_gb",
    "mae",  # a MAE is known by its weights, wherever they lie
)
"""What a run may go on with otherwise than it began: nothing of it shapes the weights."""


def has_begun(workdir: pathlib.Path) -> bool:
    """Whether a training has saved a state there, with which it would go on."""
    return is_checkpoint(workdir / LATEST)


def refuse_other_config(
    workdir: pathlib.Path,
    config: Config,
    *,
    begun: bool,
    may_change: Sequence[str] = MAY_CHANGE,
):
    """Refuses to go on with a run that was begun with another config.

    Args:
      begun: whether there is anything to go on with.
      may_change: entries that need not be as they were.

    Raises:
      UserError: other entries differ; they are named.
    """
    file = workdir / "config.json"
    if not begun or not file.exists():
        return
    there = _flat(json.loads(file.read_text(encoding="utf-8")))
    here = _flat(json.loads(json.dumps(config.to_dict())))
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
    listed = "; ".join(different.values())
    raise UserError(f"{workdir} holds a run with other settings ({listed}); {hint}")


def write_config(workdir: pathlib.Path, config: Config):
    """Writes config.json in one piece.

    Raises:
      UserError: another job's is there.
    """
    file = workdir / "config.json"
    if file.exists():
        job = json.loads(file.read_text(encoding="utf-8")).get("job")
        if job != config.job:
            raise UserError(
                f"--workdir={workdir} holds a run of the job {job}; name another folder for "
                f"{config.job}"
            )
    write_json(file, config.to_dict())


def _flat(entries: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in entries.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _shown(entries: dict[str, Any], name: str) -> str:
    return json.dumps(entries[name]) if name in entries else "nothing"
