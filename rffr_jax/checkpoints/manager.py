"""Orbax's manager of a folder of checkpoints, as this program opens it."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from rffr_jax.checkpoints.checksums import write_checksums


def open_to_read(folder: pathlib.Path) -> ocp.CheckpointManager:
    """For checkpoints that another run may be writing at the same time: changes nothing."""
    options = ocp.CheckpointManagerOptions(create=False)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def open_to_write(
    folder: pathlib.Path, keep: int | None, item_handlers: Mapping[str, Any] | None = None
) -> ocp.CheckpointManager:
    """For a folder of this run alone; what a save that was cut off left there is deleted.

    Every checkpoint gets its checksums while it still has its temporary name.
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
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=item_handlers)
