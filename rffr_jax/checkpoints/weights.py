"""Weights in Orbax checkpoints, and what a checkpoint says of itself.

Every checkpoint holds `parameters` and `about` (JSON: what the model is, how it was trained). The
layout is the same for the newest state of a run (`run_state`), for weights that a run keeps as its
best, for the frozen MAE inside a detector's workdir and for converted weights.
"""

import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from jaxtyping import PyTree

from rffr_jax.errors import UserError
from rffr_jax.sharding import parameter_shardings, with_shardings

log = logging.getLogger(__name__)

LATEST = pathlib.Path("checkpoints", "latest")
BEST = pathlib.Path("checkpoints", "best")
FROZEN_MAE = pathlib.Path("checkpoints", "mae")


def save_weights(folder: pathlib.Path, step: int, parameters: PyTree, about: dict[str, Any]):
    """Writes weights alone, in place of those that are there.

    Weights of another step give way only when the new ones are whole. Those of the same step are
    deleted first: a run that was cut back to an earlier step trains it again. Few arrays are
    written at a time: it takes little memory beside the weights.
    """
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(parameters)]
    few = ocp.StandardCheckpointHandler(save_concurrent_gb=2 * max(sizes) / 10**9)  # pyright: ignore[reportArgumentType]
    handlers = {"parameters": few, "about": ocp.JsonCheckpointHandler()}
    with open_manager(folder, keep=None, item_handlers=handlers) as manager:
        others = set(manager.all_steps())
        if step in others:
            manager.delete(step)
            others.remove(step)
        manager.save(
            step,
            args=ocp.args.Composite(
                parameters=ocp.args.StandardSave(parameters), about=ocp.args.JsonSave(about)
            ),
            force=True,
        )
        manager.wait_until_finished()
        for other in others:
            manager.delete(other)


def best_name(validation: str, method: str = "") -> str:
    """The folder below `BEST`, and the NAME of `best:NAME`, for a validation set or its method.

    Names of data and methods are free text; what does not belong in a file name becomes `_`.
    """
    name = f"{validation}-{method}" if method else validation
    return re.sub(r"^\.|[^\w.+-]", "_", name) or "_"


def read_about(folder: pathlib.Path, option: str, *kinds: str) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Args:
      option: the config entry that named the folder, for messages.
      kinds: what may be there: `mae`, `vit` or `detector`.

    Raises:
      UserError: no checkpoint there, or one of another kind.
    """
    folder = find_checkpoint(folder, option)
    about = newest_about(folder)
    kind = about.get("kind")
    if kind == "vit" and kinds == ("mae",):
        raise UserError(
            f"{option}={folder} holds a ViT: an encoder that has no decoder cannot inpaint; name a "
            "MAE, or use this one as --config.detector.init"
        )
    if kind not in kinds:
        raise UserError(f"{option}={folder} holds a {kind} checkpoint, not a {' or '.join(kinds)}")
    return about


def warn_of_normalised_targets(about: Mapping[str, Any], where: str):
    """Says that a MAE inpaints poorly because of what it was trained to predict.

    Args:
      about: what the MAE's checkpoint says of itself.
      where: the config entry and its folder.
    """
    if about.get("normalised_targets"):
        log.warning(
            "%s was trained to predict patches normalised by their own mean and spread: its "
            "residuals will be poor; train it further with --config.init_from, or use another MAE",
            where,
        )


def load_weights(folder: pathlib.Path, option: str, abstract: PyTree, mesh: Mesh) -> PyTree:
    """The parameters of a checkpoint, laid out on the mesh.

    Raises:
      UserError: no checkpoint there, or one with other shapes.
    """
    folder = find_checkpoint(folder, option)
    target = with_shardings(abstract, parameter_shardings(abstract, mesh))
    with open_manager(folder, keep=1) as manager:
        step = manager.latest_step()
        try:
            args = ocp.args.Composite(parameters=ocp.args.StandardRestore(target))
            return manager.restore(step, args=args)["parameters"]
        except (ValueError, KeyError) as error:
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"{option}={folder} does not fit this model: {reason}") from error


def find_checkpoint(folder: pathlib.Path, option: str) -> pathlib.Path:
    """The checkpoint folder itself, for a workdir (its latest) or a folder of weights.

    Raises:
      UserError: nothing there that is a checkpoint.
    """
    for candidate in (folder / LATEST, folder):
        if is_checkpoint(candidate):
            return candidate
    raise UserError(
        f"{option}={folder} holds no checkpoint; name the workdir of a finished run or a folder "
        "of converted weights"
    )


def is_checkpoint(folder: pathlib.Path) -> bool:
    """Whether a whole checkpoint lies in the folder; Orbax names half-written ones otherwise."""
    return folder.is_dir() and any(entry.name.isdigit() for entry in folder.iterdir())


def open_manager(
    folder: pathlib.Path, keep: int | None, item_handlers: Mapping[str, Any] | None = None
) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, step_prefix=None)
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=item_handlers)


def newest_about(folder: pathlib.Path) -> dict[str, Any]:
    with open_manager(folder, keep=1) as manager:
        step = manager.latest_step()
        try:
            args = ocp.args.Composite(about=ocp.args.JsonRestore())
            return manager.restore(step, args=args)["about"]
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(f"{folder}/{step} is not a checkpoint of this program") from error
