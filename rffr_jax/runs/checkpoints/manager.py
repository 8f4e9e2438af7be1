"""Orbax's manager of a folder of checkpoints, as this program opens it."""

import contextlib
import errno
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.steps import write_checksums


def require_space(folder: pathlib.Path, arrays: PyTree):
    """Checks that the disk has room for a save; Orbax would notice in the middle of it.

    Raises:
      OSError: no room. A quota of the user is only noticed while the files are written.
    """
    if jax.process_index() == 0:
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def open_to_read(folder: pathlib.Path) -> Iterator[ocp.CheckpointManager]:
    """Opens checkpoints that another run may be writing at the same time; changes nothing.

    Raises:
      UserError: Orbax's own record of a checkpoint is damaged.
    """
    with _opened(folder, ocp.CheckpointManagerOptions(create=False)) as manager:
        yield manager


@contextlib.contextmanager
def open_to_write(
    folder: pathlib.Path, keep: int | None, item_handlers: Mapping[str, Any] | None = None
) -> Iterator[ocp.CheckpointManager]:
    """Opens a folder that only this run uses; the rest of an interrupted save is deleted.

    Every checkpoint gets its checksums while it still has its temporary name.

    Raises:
      UserError: as for `open_to_read`.
    """

    def finish():
        if jax.process_index() == 0:
            (unfinished,) = folder.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}")
            write_checksums(unfinished)

    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        cleanup_tmp_directories=True,
        async_options=ocp.AsyncOptions(post_finalization_callback=finish),
    )
    with _opened(folder, options, item_handlers) as manager:
        yield manager


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    """Leaves out the pages that Orbax logs besides the error that it raises."""
    return "orbax" not in record.pathname


def _opened(
    folder: pathlib.Path,
    options: ocp.CheckpointManagerOptions,
    item_handlers: Mapping[str, Any] | None = None,
) -> ocp.CheckpointManager:
    logging.getLogger("absl").addFilter(_is_not_of_orbax)  # its threads log to the end
    try:
        return ocp.CheckpointManager(
            folder.absolute(), options=options, item_handlers=item_handlers
        )
    except OSError:
        raise
    except Exception as error:  # _CHECKPOINT_METADATA is written last and has no checksum
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise UserError(
            f"{folder} holds a checkpoint whose _CHECKPOINT_METADATA is damaged ({reason}); put a "
            "copy back, or name another folder"
        ) from error
