"""The type of a job's config, and the checks that every config must pass."""

import functools
import math
import pathlib
import re
from collections.abc import Callable, Iterator
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
    "log_every",
    "mesh.fsdp",
    "blocks.group",
    "replicates",
    "at_once",
    "most_waiting",
    "scorers",
)
AT_LEAST_ZERO = (
    "save_every",
    "save_minutes",
    "seed",
    "port",
    "frames_per_video",
    "seconds_to_stop",
    "validation_frames",
    "data.max_bad_fraction",
    "optimizer.backbone_learning_rate",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
    "optimizer.sam_rho",
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
_RANGES = (
    (AT_LEAST_ONE, lambda value: value >= 1, "be 1 or more"),
    (AT_LEAST_ZERO, lambda value: 0 <= value < math.inf, "not be negative"),
    (ABOVE_ZERO, lambda value: 0 < value < math.inf, "be above 0"),
    (ZERO_TO_ONE, lambda value: 0 <= value < 1, "be 0 or more and below 1"),
)
HUB = "hf"
MODELS = ("detector", "detectors", "mae", "init_from", "init", "weights")
"""The last names of entries that name models, in every section."""
_ADDRESS = re.compile(r"(?:^|[:,=])([A-Za-z][A-Za-z0-9+.-]*)://")


def check_config(config: Config, prefix: str = "--config."):
    """Checks values that several functions use, also in the configs of inner jobs.

    Args:
      prefix: of the name of an entry in messages.

    Raises:
      UserError: a number out of range, a tuple of the wrong length, settings that exclude each
        other; the entry is named.
    """
    for names, is_allowed, requirement in _RANGES:
        for name, value in _entries(config, names):
            if not is_allowed(value):
                raise UserError(f"{prefix}{name}={value}; it must {requirement}")
    for name, value in _entries(config, THREE_NUMBERS):
        if len(value) != 3:
            raise UserError(f"{prefix}{name}={value} needs 3 numbers, one a colour channel")
    for name, value in _entries(config, ("data.workers",)):
        if str(value) != "auto" and not (str(value).isascii() and str(value).isdigit()):
            raise UserError(f"{prefix}{name}={value}; it must be auto or 0 or more")
    for name, value in _entries(config, ("data.cache",)):
        if str(value) not in ("auto", "True", "False"):
            raise UserError(f"{prefix}{name}={value}; it must be auto, True or False")
    for name in INNER_JOBS:
        if name in config:
            check_config(config[name], f"{prefix}{name}.")


def refuse_address(text: str, option: str = "", models: bool = False):
    """Refuses the address of a bucket or a page, which is no local folder.

    Args:
      text: a path, several with commas between, a dataset spec, or a whole flag.
      option: text before it in the message.
      models: whether models on the Hugging Face hub (`hf://`) are allowed.

    Raises:
      UserError: `text` names something as `scheme://...`.
    """
    for found in _ADDRESS.finditer(text):
        if found[1] == HUB and models:
            continue
        if found[1] == HUB:
            raise UserError(f"{option}{text}: hf:// names a model, and this is no place for one")
        raise UserError(
            f"{option}{text}: addresses ({found[1]}://) are not read or written, only files of "
            "this machine; mount it or copy it, and name the local path"
        )


def refuse_addresses(config: Config):
    """Raises: UserError if an entry is, or holds, the address of a bucket or a page.

    Entries that name models may name one on the hub. `trusted_hosts` names hosts, not files: the
    job `web` checks it itself.
    """
    for name, value in flat(config.to_dict()).items():
        for text in _texts(value) if name != "trusted_hosts" else ():
            refuse_address(text, f"--config.{name}=", models=_names_models(name))


def with_pinned_models(config: Config, pin: Callable[[str, str], str]) -> Config:
    """The config with the commits of its models on the hub, also behind `NAME=`.

    Args:
      pin: the name with a commit of a model `hf://...`, from its name and the config entry; asked
        once for a name.
    """
    pinned: dict[str, str] = {}

    def once(found: re.Match[str], entry: str) -> str:
        if found[0] not in pinned:
            pinned[found[0]] = pin(found[0], entry)
        return pinned[found[0]]

    for name, value in flat(config.to_dict()).items():
        if _names_models(name) and isinstance(value, str) and f"{HUB}://" in value:
            named = rf"(?:^|(?<=[,=])){HUB}://[^,]*"
            text = re.sub(named, functools.partial(once, entry=name), value)
            config.update_from_flattened_dict({name: text})
    return config


def _names_models(entry: str) -> bool:
    return entry.rpartition(".")[2] in MODELS


def local_path(text: str, option: str) -> pathlib.Path:
    """A path from a config, with the home folder in place of `~`.

    Args:
      option: name of the entry, for messages.

    Raises:
      UserError: it is an address, or there is no such home folder.
    """
    refuse_address(text, f"{option}: ")
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{option}: {text}: that home folder is not known; write the whole path"
        ) from error


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


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
