"""Orbax's manager of a folder of checkpoints, as this program opens it."""

import logging
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.checksums import write_checksums


def _quieten():
    """A failed save or restore is raised; Orbax and TensorStore print it in pages besides."""
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    before = sys.excepthook

    def hook(kind, error, trace):
        if str(error) != "Event loop is closed":  # of the writes beside the one that failed
            before(kind, error, trace)

    sys.excepthook = hook


_quieten()


def require_space(folder: pathlib.Path, arrays: PyTree):
    """Makes sure that the disk has room for what is going to be saved.

    Orbax would find out in the middle, in the background.

    Raises:
      OSError: no room, a quota or a limit.
    """
    if jax.process_index() == 0 and hasattr(os, "posix_fallocate"):
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)


def open_to_read(folder: pathlib.Path) -> ocp.CheckpointManager:
    """For checkpoints that another run may be writing at the same time: changes nothing.

    Raises:
      UserError: Orbax's own record of a checkpoint is damaged.
    """
    return _opened(folder, ocp.CheckpointManagerOptions(create=False))


def open_to_write(
    folder: pathlib.Path, keep: int | None, item_handlers: Mapping[str, Any] | None = None
) -> ocp.CheckpointManager:
    """For a folder of this run alone; what a save that was cut off left there is deleted.

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
    return _opened(folder, options, item_handlers)


def _opened(
    folder: pathlib.Path,
    options: ocp.CheckpointManagerOptions,
    item_handlers: Mapping[str, Any] | None = None,
) -> ocp.CheckpointManager:
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
