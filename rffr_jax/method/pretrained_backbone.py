"""Weights of a pretrained backbone: DINOv2 or CLIP, a ViT, or the encoder of a MAE.

A detector that leaves them as they are does not hold them. It knows them by their digest, and needs
their folder whenever it is loaded.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from rffr_jax.cluster.sharding import parameter_shardings
from rffr_jax.errors import UserError
from rffr_jax.method.array_cache import parameters_digest
from rffr_jax.models.abstract import abstract, abstract_mae, abstract_vit
from rffr_jax.models.backbone import Backbone
from rffr_jax.models.sizes import BackboneSettings, ModelSettings
from rffr_jax.models.transfer import resize_positions, vit_from_mae
from rffr_jax.runs.checkpoints.weights import load_weights, read_about

OPTION = "backbone.weights"
FAMILIES = ("dinov2", "clip")
"""The networks of converted `backbone` checkpoints that are vision transformers."""
NOT_NORMALISED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class PretrainedBackbone:
    """A folder of converted weights, for images of some size.

    Attributes:
      settings: of the backbone that reads images of the size that was asked for.
      mean, std: of its pixels in [0, 1].
      image_size: of the images that the weights were trained on.
    """

    folder: pathlib.Path
    settings: BackboneSettings
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int
    about: Mapping[str, Any]

    def load(self, mesh: Mesh) -> tuple[PyTree, str]:
        """The parameters of a `Backbone` on the mesh, and the digest of the weights in the folder.

        Positions are interpolated where the image size is another.

        Raises:
          UserError: the weights are damaged.
        """
        kind, grid = self.about["kind"], self.settings.grid
        if kind == "backbone":
            there = dataclasses.replace(self.settings, image_size=self.image_size)
            shapes = abstract_backbone(there)
        else:
            model = ModelSettings(**self.about["model"])
            shapes = (abstract_vit if kind == "vit" else abstract_mae)(model)[1]
        weights = load_weights(self.folder, OPTION, shapes, mesh)
        digest = parameters_digest(weights)
        if kind == "mae":
            model = dataclasses.replace(model, image_size=self.settings.image_size)
            parameters = vit_from_mae(weights, model)
        else:
            positions = resize_positions(weights["positions"], grid)
            parameters = {**weights, "positions": positions}
        return jax.device_put(parameters, parameter_shardings(parameters, mesh)), digest


def read_backbone(folder: pathlib.Path, image_size: int) -> PretrainedBackbone:
    """What a folder of converted weights says of them; the weights are not read yet.

    Args:
      folder: a checkpoint of `scripts/convert_weights.py`, a pretrain workdir or a model folder.
      image_size: side of the images that the backbone shall read, in pixels.

    Raises:
      UserError: there are no such weights, or their patches do not fill the image.
    """
    about = read_about(folder, OPTION, "backbone", "vit", "mae")
    normalisation = about.get("normalisation", NOT_NORMALISED)
    if about["kind"] != "backbone":
        model = ModelSettings(**about["model"])
        size = model.shape
        there = BackboneSettings(
            size.width, size.depth, size.heads, model.image_size, model.patch_size
        )
    elif about["network"] not in FAMILIES:
        raise UserError(
            f"{OPTION}={folder} holds a network of kind {about['network']}; name one of "
            f"{', '.join(FAMILIES)}, a ViT or a MAE (docs/backbones.md)"
        )
    else:
        there = BackboneSettings(**about["model"])
    return PretrainedBackbone(
        folder,
        dataclasses.replace(there, image_size=image_size),
        tuple(normalisation["mean"]),
        tuple(normalisation["std"]),
        there.image_size,
        about,
    )


def abstract_backbone(settings: BackboneSettings) -> PyTree:
    """The shapes of a `Backbone`'s parameters."""
    return abstract(lambda rngs: Backbone(settings, dtype=jax.numpy.float32, rngs=rngs))[1]


def load_named_backbone(
    folder: pathlib.Path, settings: BackboneSettings, digest: str, mesh: Mesh
) -> PyTree:
    """The backbone of a trained detector, which knows it by its digest.

    Raises:
      UserError: the folder holds none, or other weights.
    """
    backbone = read_backbone(folder, settings.image_size)
    if backbone.settings != settings:
        raise UserError(
            f"{OPTION}={folder} holds another network ({backbone.settings}) than the one that the "
            f"detector was trained with ({settings}); name the folder of that one"
        )
    parameters, found = backbone.load(mesh)
    if found != digest:
        raise UserError(
            f"{OPTION}={folder} holds other weights (digest {found}) than those that the detector "
            f"was trained with ({digest}); name the folder of those"
        )
    return parameters
