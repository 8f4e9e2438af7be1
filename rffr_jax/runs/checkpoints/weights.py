"""Weights and their description (`about`) in Orbax checkpoints.

Every checkpoint holds `parameters` and `about` (JSON: the model, its training and the version of
the program that wrote it first). The layout is the same for the newest state of a run
(`run_state`), for the best weights of a run, for the frozen MAE in a detector's workdir and for
converted weights.
"""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from jaxtyping import PyTree

from rffr_jax import __version__
from rffr_jax.cluster.sharding import parameter_shardings, with_shardings
from rffr_jax.errors import UserError
from rffr_jax.runs.checkpoints.fit import differences
from rffr_jax.runs.checkpoints.manager import open_to_read, open_to_write, require_space
from rffr_jax.runs.checkpoints.names import FROZEN, LATEST
from rffr_jax.runs.checkpoints.steps import newest_intact_step, saved_steps
from rffr_jax.runs.model_folder import is_model_folder, read_config, read_part

log = logging.getLogger(__name__)


def save_weights(folder: pathlib.Path, step: int, parameters: PyTree, about: dict[str, Any]):
    """Writes only weights, in place of those in the folder.

    Weights of another step are deleted only when the new ones are finished. Those of the same step
    are deleted first: a run that was cut back to an earlier step trains it again. Few arrays are
    written at a time, so that this takes little memory beside the weights.
    """
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(parameters)]
    few = ocp.StandardCheckpointHandler(save_concurrent_gb=2 * max(sizes) / 10**9)  # pyright: ignore[reportArgumentType]
    handlers = {"parameters": few, "about": ocp.JsonCheckpointHandler()}
    with open_to_write(folder, keep=None, item_handlers=handlers) as manager:
        require_space(folder, parameters)
        others = set(manager.all_steps())
        if step in others:
            manager.delete(step)
            others.remove(step)
        manager.save(
            step,
            args=ocp.args.Composite(
                parameters=ocp.args.StandardSave(parameters), about=about_item(about)
            ),
            force=True,
        )
        manager.wait_until_finished()
        for other in others:
            manager.delete(other)


def about_item(about: dict[str, Any]) -> ocp.args.JsonSave:
    """The item `about` with the program's version, for a save."""
    return ocp.args.JsonSave({"version": __version__, **about})


def read_about(folder: pathlib.Path, option: str, *kinds: str) -> dict[str, Any]:
    """The description of a checkpoint.

    Args:
      option: the config entry that named the folder, for messages.
      kinds: the kinds that are accepted: `mae`, `unet`, `ridge`, `vit` or `detector`.

    Raises:
      UserError: the folder holds no checkpoint, one of another kind, or one without a version.
    """
    if is_model_folder(folder):
        about = read_config(folder, option)["about"]
    else:
        folder = find_checkpoint(folder, option)
        about = read_newest_about(folder, option)
    if "version" not in about:
        raise UserError(
            f"{option}={folder} was written by an older version of this program, which cannot be "
            "read; train or convert it anew (`make demo` for the demo's)"
        )
    kind = about.get("kind")
    if kind == "vit" and "mae" in kinds and "vit" not in kinds:
        raise UserError(
            f"{option}={folder} holds a ViT: an encoder without a decoder cannot inpaint; name a "
            "MAE, or use this one as --config.detector.init"
        )
    if kind not in kinds:
        raise UserError(f"{option}={folder} holds a {kind} checkpoint, not a {' or '.join(kinds)}")
    return about


def warn_of_normalised_targets(about: Mapping[str, Any], where: str):
    """Warns that a MAE inpaints poorly because it was trained to predict normalised patches.

    Args:
      about: of the MAE's checkpoint.
      where: the config entry and its folder.
    """
    if about.get("normalised_targets"):
        log.warning(
            "%s was trained to predict patches normalised by their own mean and spread: its "
            "residuals will be poor; train it further with --config.init_from, or use another MAE",
            where,
        )


def load_weights(
    folder: pathlib.Path, option: str, abstract: PyTree, mesh: Mesh, part: str = ""
) -> PyTree:
    """The parameters of a checkpoint or of a model folder, laid out on the mesh.

    Args:
      part: of a model folder with several, such as the `mae` of a detector; '' is the model itself.

    Raises:
      UserError: no checkpoint there, or one with other shapes.
    """
    if is_model_folder(folder):
        part = part or read_config(folder, option)["about"]["kind"]
        parameters = read_part(folder, part, option, abstract)
        return jax.device_put(parameters, parameter_shardings(parameters, mesh))
    step, folder = step_of_weights(folder, option), find_checkpoint(folder, option)
    return restore_items(
        folder,
        step,
        {"parameters": with_shardings(abstract, parameter_shardings(abstract, mesh))},
        f"{option}={folder}",
    )["parameters"]


def step_of_weights(folder: pathlib.Path, option: str) -> int:
    """The step of the weights that `load_weights` finds in a workdir or a folder of weights.

    Raises:
      UserError: there is no checkpoint, or every one is damaged.
    """
    return newest_intact_step(find_checkpoint(folder, option), ("about", "parameters"), option)


def load_frozen(
    detector: pathlib.Path, kind: str, option: str, abstract: PyTree, mesh: Mesh
) -> PyTree:
    """The frozen parameters inside a detector's workdir or model folder.

    Args:
      kind: `mae`, `unet` or `ridge`.

    Raises:
      UserError: no checkpoint there, or one with other shapes.
    """
    folder = detector if is_model_folder(detector) else detector / FROZEN[kind]
    return load_weights(folder, option, abstract, mesh, part=kind)


def find_checkpoint(folder: pathlib.Path, option: str) -> pathlib.Path:
    """The checkpoint folder itself, for a workdir (its latest) or a folder of weights.

    Raises:
      UserError: there is no checkpoint.
    """
    for candidate in (folder / LATEST, folder):
        if is_checkpoint(candidate):
            return candidate
    reason = "" if folder.exists() else ", because there is no such folder"
    raise UserError(
        f"{option}={folder} holds no checkpoint{reason}; name the workdir of a finished run, a "
        "folder of converted weights, or a model folder"
    )


def is_checkpoint(folder: pathlib.Path) -> bool:
    """Whether the folder holds a checkpoint, intact or damaged."""
    return bool(saved_steps(folder))


def read_newest_about(folder: pathlib.Path, option: str = "") -> dict[str, Any]:
    """The description of the newest intact checkpoint of a folder.

    Raises:
      UserError: every checkpoint there is damaged.
    """
    step = newest_intact_step(folder, ("about",), option)
    with open_to_read(folder) as manager:
        return manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]


def restore_items(
    folder: pathlib.Path, step: int, targets: Mapping[str, PyTree], where: str
) -> dict[str, PyTree]:
    """Items of one step, laid out as their targets say.

    Args:
      where: the folder, as messages name it.

    Raises:
      UserError: the arrays differ from those of the targets; they are named.
    """
    args = {item: ocp.args.StandardRestore(target) for item, target in targets.items()}
    try:
        with open_to_read(folder) as manager:
            return dict(manager.restore(step, args=ocp.args.Composite(**args)).items())
    except (ValueError, KeyError) as error:
        for item, target in targets.items():
            if different := differences(folder.absolute() / str(step) / item, target):
                raise UserError(
                    f"{where}, step {step}, does not fit this model: {different}"
                ) from error
        raise
