"""Writes converted weights as a checkpoint of this program: whole, or not at all."""

import pathlib
import tempfile

import jax

from rffr_jax.convert.importing import ImportedWeights
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.weights import (
    save_weights,
)


def refuse_output(output: pathlib.Path, overwrite: bool):
    """Raises: UserError if something is there that must not give way."""
    if not output.exists() and not output.is_symlink():
        return
    if not overwrite:
        raise UserError(f"--output {output} exists; name another folder, or give --overwrite")
    if not _is_checkpoint_alone(output):
        raise UserError(f"--output {output} is no checkpoint, so --overwrite does not touch it")


def write_converted(output: pathlib.Path, imported: ImportedWeights, overwrite: bool = False):
    """Writes the checkpoint beside `output` and renames it when it is whole.

    Raises:
      UserError: the output exists, or the disk does not take it.
    """
    refuse_output(output, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=output.parent, prefix=f".{output.name}-", ignore_cleanup_errors=True
        ) as folder:
            _try_disk(folder, sum(array.nbytes for array in jax.tree.leaves(imported.parameters)))
            whole, old = pathlib.Path(folder, "whole"), pathlib.Path(folder, "old")
            save_weights(whole, 0, imported.parameters, imported.about)
            try:
                if output.exists():
                    output.rename(old)
                whole.rename(output)
            except BaseException:  # an interruption too: the folder goes, with what is in it
                if old.exists() and not output.exists():
                    old.rename(output)
                raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"--output {output} cannot be written: {reason}") from error


def _is_checkpoint_alone(folder: pathlib.Path) -> bool:
    """Whether nothing else is there: folders of data and of runs can have numbers for names too."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    return bool(entries) and all(
        entry.name.isdigit() and (entry / "about").is_dir() for entry in entries
    )


def _try_disk(folder: str, size: int):
    """Raises: OSError if so much does not fit; Orbax would say it in pages, and in the middle."""
    zeros = bytes(2**20)
    with tempfile.TemporaryFile(dir=folder) as file:
        for written in range(0, size, len(zeros)):
            file.write(zeros[: size - written])
