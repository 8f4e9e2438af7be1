"""Records of what was chosen or measured with the weights of one checkpoint, beside the weights.

A workdir has a file for each checkpoint, `operating_points/last.json`; a model folder, which holds
one checkpoint, has an entry of its config.json, `operating_point`.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rffr_jax.cluster import processes
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.model_folder import CONFIG, is_model_folder, read_config, update_config

log = logging.getLogger(__name__)

T = TypeVar("T")


def read_record(folder: Path, name: str, checkpoint: str) -> dict[str, Any] | None:
    """The record, or None if there is none.

    Args:
      folder: a workdir or a model folder.
      name: of the kind of record, such as `operating_point`.
      checkpoint: `last` or `best:NAME`.

    Raises:
      UserError: the file is damaged.
    """
    if is_model_folder(folder):
        return read_config(folder, "detector").get(name)
    file = record_file(folder, name, checkpoint)
    return read_json_object(file) if file.is_file() else None


def read_valid_record(
    folder: Path,
    name: str,
    checkpoint: str,
    weights: str,
    from_json: Callable[[dict[str, Any]], T],
) -> T | None:
    """The record of the weights with the digest `weights`, as `from_json` reads it.

    Returns:
      None if there is no record, or if it belongs to other weights, which gives a warning.

    Raises:
      UserError: the record is damaged.
    """
    again = "make it again with the job evaluate and --config.data.validation"
    file = record_file(folder, name, checkpoint)
    try:
        record = read_record(folder, name, checkpoint)
        if record is None:
            return None
        if record["weights"] != weights:
            kind = name.replace("_", " ")
            log.warning("%s: the %s is of other weights and is not used; %s", file, kind, again)
            return None
        return from_json(record)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{file} is damaged ({reason}); {again}, or delete it") from None


def write_record(folder: Path, name: str, checkpoint: str, weights: str, record: dict[str, Any]):
    """Writes the record of the weights with the digest `weights`, in place of an earlier one.

    A folder that cannot be written gives a warning. Only the main process writes.
    """
    if not processes.is_main_process():
        return
    record = {"weights": weights, **record}
    file = record_file(folder, name, checkpoint)
    try:
        if is_model_folder(folder):
            update_config(folder, **{name: without_names(record)})
        else:
            write_json(file, record)
    except OSError as error:
        log.warning("%s cannot be written (%s): predict will not use it", file, error)


def without_names(record: dict[str, Any]) -> dict[str, Any]:
    """A record that can be shared, as in a model folder: it names no folders and no originals."""
    specs = {
        name: [spec.rpartition("/")[2] for spec in record[name]]
        for name in ("chosen_on", "data")
        if name in record
    }
    return {**record, **specs, **({"origins": {}} if "origins" in record else {})}


def record_file(folder: Path, name: str, checkpoint: str) -> Path:
    """The file that holds the record."""
    if is_model_folder(folder):
        return folder / CONFIG
    return folder / f"{name}s" / f"{checkpoint.replace(':', '-')}.json"
