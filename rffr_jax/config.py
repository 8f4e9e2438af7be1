"""What a job's config is to the program, and the checks that any job's config must pass."""

from typing import Any

from rffr_jax.errors import UserError

Config = Any
"""An `ml_collections.ConfigDict`; Any, because its entries have no static types."""

AT_LEAST_ONE = (
    "steps",
    "batch_size",
    "evaluation_batch_size",
    "evaluate_every",
    "save_every",
    "log_every",
    "mesh.fsdp",
    "blocks.group",
)
AT_LEAST_ZERO = ("seed", "frames_per_video", "data.workers", "data.max_bad_fraction")
THREE_NUMBERS = ("detector.mean", "detector.std")


def check(config: Config):
    """Checks values that no single function downstream owns.

    Raises:
      UserError: a number out of range, a tuple of the wrong length, settings that exclude each
        other; the entry is named.
    """
    for name, value in _entries(config, AT_LEAST_ONE):
        if value < 1:
            raise UserError(f"--config.{name}={value}; it must be 1 or more")
    for name, value in _entries(config, AT_LEAST_ZERO):
        if value < 0:
            raise UserError(f"--config.{name}={value}; it must not be negative")
    for name, value in _entries(config, THREE_NUMBERS):
        if len(value) != 3:
            raise UserError(f"--config.{name}={value} needs 3 numbers, one a colour channel")
    data = config.get("data", {})
    if data.get("cache") and data.get("workers"):
        raise UserError(
            "--config.data.cache keeps images in this process, which worker processes cannot "
            "share; add --config.data.workers=0"
        )


def _entries(config: Config, names: tuple[str, ...]):
    for name in names:
        section, _, key = name.rpartition(".")
        entries = config.get(section, {}) if section else config
        if key in entries:
            yield name, entries[key]
