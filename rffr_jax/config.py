"""What a job's config is to the program, and the checks that any job's config must pass."""

import math
from typing import Any

from rffr_jax.errors import UserError

Config = Any
"""An `ml_collections.ConfigDict`; Any, because its entries have no static types."""

AT_LEAST_ONE = (
    "batch_size",
    "micro_batches",
    "steps",
    "evaluation_batch_size",
    "evaluate_every",
    "save_every",
    "log_every",
    "mesh.fsdp",
    "blocks.group",
    "replicates",
    "at_once",
    "most_waiting",
)
AT_LEAST_ZERO = (
    "seed",
    "port",
    "frames_per_video",
    "validation_frames",
    "data.workers",
    "data.max_bad_fraction",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
    "residuals.memory_gb",
)
ABOVE_ZERO = (
    "optimizer.learning_rate",
    "most_megabytes",
    "seconds_per_file",
    "seconds_without_progress",
)
ZERO_TO_ONE = (
    "optimizer.b1",
    "optimizer.b2",
    "optimizer.ema_decay",
    "max_fpr",
    "prevalence",
)
THREE_NUMBERS = ("detector.mean", "detector.std")
INNER_JOBS = ("pretrain", "detect", "evaluate", "residual")


def check(config: Config, prefix: str = "--config."):
    """Checks values that no single function downstream owns, those of jobs inside a job too.

    Args:
      prefix: what stands before the name of an entry in messages.

    Raises:
      UserError: a number out of range, a tuple of the wrong length, settings that exclude each
        other; the entry is named.
    """
    for name, value in _entries(config, AT_LEAST_ONE):
        if value < 1:
            raise UserError(f"{prefix}{name}={value}; it must be 1 or more")
    for name, value in _entries(config, AT_LEAST_ZERO):
        if not 0 <= value < math.inf:
            raise UserError(f"{prefix}{name}={value}; it must not be negative")
    for name, value in _entries(config, ABOVE_ZERO):
        if not 0 < value < math.inf:
            raise UserError(f"{prefix}{name}={value}; it must be above 0")
    for name, value in _entries(config, ZERO_TO_ONE):
        if not 0 <= value < 1:
            raise UserError(f"{prefix}{name}={value}; it must be 0 or more and below 1")
    for name, value in _entries(config, THREE_NUMBERS):
        if len(value) != 3:
            raise UserError(f"{prefix}{name}={value} needs 3 numbers, one a colour channel")
    data = config.get("data", {})
    if data.get("cache") and data.get("workers"):
        raise UserError(
            f"{prefix}data.cache keeps images in this process, which worker processes cannot "
            f"share; add {prefix}data.workers=0"
        )
    for name in INNER_JOBS:
        if name in config:
            check(config[name], f"{prefix}{name}.")


def flat(entries: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested entries by their dotted names."""
    values = {}
    for name, value in entries.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def _entries(config: Config, names: tuple[str, ...]):
    for name in names:
        section, _, key = name.rpartition(".")
        entries = config.get(section, {}) if section else config
        if key in entries:
            yield name, entries[key]
