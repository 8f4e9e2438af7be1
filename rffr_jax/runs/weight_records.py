"""What was chosen or measured on certain weights, kept beside them.

A workdir has a file for each checkpoint, `operating_points/last.json`; a model folder, which holds
one checkpoint, has an entry of its config.json, `operating_point`.
"""

from pathlib import Path
from typing import Any

from rffr_jax.runs.atomic_files import read_json_object, write_json
from rffr_jax.runs.model_folder import CONFIG, is_model_folder, read_config, update_config


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


def write_record(folder: Path, name: str, checkpoint: str, record: dict[str, Any]):
    """Writes the record in place of an earlier one.

    Raises:
      OSError: the file cannot be written.
    """
    if is_model_folder(folder):
        update_config(folder, **{name: record})
    else:
        write_json(record_file(folder, name, checkpoint), record)


def record_file(folder: Path, name: str, checkpoint: str) -> Path:
    """The file that holds the record."""
    if is_model_folder(folder):
        return folder / CONFIG
    return folder / f"{name}s" / f"{checkpoint.replace(':', '-')}.json"
