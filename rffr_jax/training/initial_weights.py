"""The initial weights of a new run.

A run starts from its own checkpoint in the workdir (`loop`), else from the weights that the config
names (`init_from` for a MAE or a whole detector, `detector.init` for both branches of a detector or
for a rival's backbone, `backbone.weights` for a pretrained one), else from random ones. Named
weights of a MAE or a ViT may have another image size: fixed positions are computed for the new
grid, learned ones are interpolated.
"""

import dataclasses
import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PyTree

from rffr_jax.cluster.sharding import parameter_shardings
from rffr_jax.errors import UserError
from rffr_jax.method.autoencoder_checkpoint import read_autoencoder
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.abstract import abstract_mae, abstract_vit
from rffr_jax.models.backbone import trained_part
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.models.transfer import fold_normalisation, resize_positions, vit_from_mae
from rffr_jax.rivals import find_rival
from rffr_jax.runs.checkpoints.weights import (
    load_weights,
    read_about,
)

log = logging.getLogger(__name__)


def check_start(folder: pathlib.Path, settings: DetectionSettings):
    """Raises: UserError if `detector.init` names no weights that the detector can start from."""
    where = f"detector.init={folder}"
    if settings.pretrained is not None and not settings.reads_residual:
        raise UserError(
            f"{where} is a start for the residual branch, and detector.inputs=original has none "
            "beside the backbone; leave it out"
        )
    if settings.is_rival:
        about = _check_rival_start(folder, settings, where)
    else:
        about = read_autoencoder(folder, "detector.init", "vit", "mae")
        check_shapes(about, settings.model, where)
    trained = about.get("normalisation")
    asked = {"mean": list(settings.mean), "std": list(settings.std)}
    reads = "original" in settings.branches and settings.pretrained is None
    if trained and trained != asked and reads:
        log.info(
            "the weights of %s were trained with mean %s and std %s, and will read mean %s and std "
            "%s; --config.detector.mean and --config.detector.std change that",
            folder,
            *(tuple(said[name]) for said in (trained, asked) for name in ("mean", "std")),
        )


def _check_rival_start(
    folder: pathlib.Path, settings: DetectionSettings, where: str
) -> dict[str, Any]:
    name, network = settings.backbone, find_rival(settings.backbone).Detector.starts_from
    if not network:
        raise UserError(f"{where}: detector.backbone={name!r} takes no start; leave it empty")
    if network == "vit":
        about = read_about(folder, "detector.init", "vit")
        vit = settings.rival.vit(settings.model.image_size)
        check_shapes(about, vit, where, "rival")
        return about
    about = read_about(folder, "detector.init", "backbone")
    if about["network"] != network:
        raise UserError(
            f"{where} holds a network of kind {about['network']}, and detector.backbone={name!r} "
            f"starts from one of kind {network}; convert one (docs/weights.md)"
        )
    asked = {entry: getattr(settings.rival, entry) for entry in about["model"]}
    if about["model"] != asked:
        changes = " ".join(f"--config.rival.{key}={value}" for key, value in about["model"].items())
        raise UserError(
            f"{where} holds a network of another size than this config's; set {changes}"
        )
    return about


def init_detector(
    folder: pathlib.Path, parameters: PyTree, settings: DetectionSettings, mesh: Mesh
) -> PyTree:
    """A detector's parameters with those that `detector.init` names in their places.

    Args:
      parameters: of a `Detector` or of a rival, laid out on the mesh.
    """
    if not settings.is_rival:
        return _init_branches(folder, parameters, settings, mesh)
    fresh = parameters["backbone"]
    if find_rival(settings.backbone).Detector.starts_from != "vit":
        return {**parameters, "backbone": load_weights(folder, "detector.init", fresh, mesh)}
    there = ModelSettings(**read_about(folder, "detector.init", "vit")["model"])
    weights = load_weights(folder, "detector.init", abstract_vit(there)[1], mesh)
    grid = settings.rival.vit(settings.model.image_size).grid
    positions = resize_positions(weights["positions"], grid)
    backbone = {**weights, "positions": positions}
    return {**parameters, "backbone": jax.device_put(backbone, parameter_shardings(fresh, mesh))}


def log_random_start(backbone: str):
    """Says that a rival starts from random weights, if its paper's starts from others."""
    network = find_rival(backbone).Detector.starts_from
    if network:
        log.info(
            "%s starts from random weights; its paper's from converted ones: "
            "--config.detector.init=weights/%s (docs/weights.md)",
            backbone,
            network,
        )


def _init_branches(
    folder: pathlib.Path, parameters: PyTree, settings: DetectionSettings, mesh: Mesh
) -> PyTree:
    """A detector's parameters with every branch initialised from a ViT or from a MAE's encoder.

    A ViT's weights stay as they are, also in the residual branch, as in the paper. A MAE reads
    pixels in [0, 1]; the normalisation of the original branch is folded into its weights, so the
    branch computes the same as the MAE's encoder. Additions to the patch embedding start at zero,
    by their last layers.

    Args:
      parameters: of a `Detector`, laid out on the mesh.
    """
    about = read_autoencoder(folder, "detector.init", "vit", "mae")
    there = ModelSettings(**about["model"])
    abstract = (abstract_vit if about["kind"] == "vit" else abstract_mae)(there)[1]
    weights = load_weights(folder, "detector.init", abstract, mesh, part=about["kind"])

    def started(parameters: PyTree, weights: PyTree) -> PyTree:
        for name, branch in parameters["branches"].items():
            if name == "original" and settings.pretrained is not None:
                continue
            for addition in branch.get("additions", {}).values():
                addition["output"] = jax.tree.map(jnp.zeros_like, addition["output"])
            if about["kind"] == "vit":
                positions = resize_positions(weights["positions"], settings.model.grid)
                branch.update({**weights, "positions": positions})
                continue
            branch.update(vit_from_mae(weights, settings.model))
            if name == "original":
                embedding = branch["embedding"]
                branch["embedding"] = fold_normalisation(embedding, settings.mean, settings.std)
        return parameters

    shardings = jax.tree.map(lambda leaf: leaf.sharding, parameters)
    return jax.jit(started, out_shardings=shardings)(parameters, weights)


def init_from_backbone(parameters: PyTree, backbone: PyTree, train: str) -> PyTree:
    """A detector's trained parameters, with those of a pretrained backbone in their places.

    Args:
      train: what of the detector is trained, as in its settings.
    """
    part = jax.tree.map(jnp.copy, trained_part(backbone, train))  # a step reuses their memory
    if not part:
        return parameters
    return {**parameters, "branches": {**parameters["branches"], "original": part}}


def read_initial_detector(folder: pathlib.Path, settings: DetectionSettings) -> dict[str, Any]:
    """What the checkpoint of the detector in `init_from` says of it.

    Raises:
      UserError: it is none, or has other settings; the loss on patches may come and go.
    """
    about = read_about(folder, "init_from", "detector")
    there = DetectionSettings.from_json(about["detection"])
    differing = [
        f"{field.name} {getattr(there, field.name)} there, {getattr(settings, field.name)} here"
        for field in dataclasses.fields(settings)
        if field.name != "patch_head"
        and getattr(there, field.name) != getattr(settings, field.name)
    ]
    if differing:
        raise UserError(
            f"init_from={folder} holds a detector with other settings ({'; '.join(differing)}); "
            "make them the same"
        )
    return about


def init_from_detector(
    folder: pathlib.Path, about: dict[str, Any], parameters: PyTree, mesh: Mesh
) -> PyTree:
    """The weights of the detector that `about` describes; a layer that it lacks stays as it is.

    Args:
      parameters: of a `Detector`, laid out on the mesh.
    """
    there = Detection(DetectionSettings.from_json(about["detection"]), jnp.float32)
    weights = load_weights(folder, "init_from", there.abstract_parameters, mesh)
    return {name: weights.get(name, fresh) for name, fresh in parameters.items()}


def check_shapes(
    about: dict[str, Any], settings: ModelSettings, where: str, section: str = "model"
):
    """Raises: UserError if the model that `about` describes cannot become one of `settings`, whose
    size and patch size are in `section` of the config."""
    there = ModelSettings(**about["model"])
    if (there.size, there.patch_size) != (settings.size, settings.patch_size):
        raise UserError(
            f"{where} holds {about['model']}, this config asks for "
            f"{dataclasses.asdict(settings)}; make {section}.size and {section}.patch_size the same"
        )
    if there != settings:
        log.info(
            "%s is of %d px images; positions are made for %d px",
            where,
            there.image_size,
            settings.image_size,
        )
