"""Our checkpoints as safetensors files, under the names that PyTorch users load."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from rffr_jax.cluster.sharding import make_mesh
from rffr_jax.convert.files import write_safetensors
from rffr_jax.convert.normalisation import NORMALISATIONS, Normalisation
from rffr_jax.convert.rules import to_source
from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES, fixed_positions
from rffr_jax.errors import UserError
from rffr_jax.method.detection import Detection
from rffr_jax.method.detection_settings import DetectionSettings
from rffr_jax.models.abstract import abstract_mae, abstract_vit
from rffr_jax.models.sizes import ModelSettings
from rffr_jax.models.transfer import vit_from_mae
from rffr_jax.runs.checkpoints.weights import (
    load_weights,
    read_about,
)

KINDS = ("timm", "hf", "hf4", "mae")


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """The arrays of one file, and the input of their network."""

    arrays: dict[str, np.ndarray]
    normalisation: Normalisation
    residuals: bool = False

    def describe_input(self) -> str:
        """The input of the exported network, in words."""
        if self.residuals:
            return "residuals in [-1, 1], as here"
        if self.normalisation == NORMALISATIONS["none"]:
            return "pixels in [0, 1], as here"
        return f"(p - mean) / std of pixels p in [0, 1], {self.normalisation}"


def export_weights(
    checkpoint: pathlib.Path, kind: str, output: pathlib.Path
) -> dict[pathlib.Path, str]:
    """Writes the networks of a checkpoint; each branch of a detector gets its own file.

    Args:
      checkpoint: a workdir, one of its checkpoints, or converted weights.
      kind: `timm` for `VisionTransformer(num_classes=0)`; `hf` for
        `ViTModel(add_pooling_layer=False)` or, with a decoder, `ViTMAEForPreTraining` of
        transformers 5, `hf4` of transformers 4; `mae` for facebookresearch's
        `MaskedAutoencoderViT`.
      output: the file; of two branches, `-original` and `-residual` are added to its name.

    Returns:
      The input of the network in each file, in words.

    Raises:
      UserError: the input is no checkpoint, does not fit the kind, or a file exists or cannot be
        written.
    """
    if kind not in KINDS:
        raise UserError(f"--export needs --kind, one of {', '.join(KINDS)}; not {kind!r}")
    if output.suffix != ".safetensors":
        raise UserError(f"--export {output}: its name must end with .safetensors")
    about = read_about(checkpoint, "--input", "mae", "vit", "detector")
    files = {
        output.with_stem(output.stem + suffix): export
        for suffix, export in _export_networks(checkpoint, about, kind).items()
    }
    for file in files:
        if file.exists():
            raise UserError(f"--export {file} exists; name another file")
    for file, export in files.items():
        write_safetensors(file, export.arrays, _make_metadata(about, kind, export.normalisation))
    return {file: export.describe_input() for file, export in files.items()}


def _export_networks(
    checkpoint: pathlib.Path, about: Mapping[str, Any], kind: str
) -> dict[str, ExportedFile]:
    """The content of each file, by the addition to its name."""
    if about["kind"] == "detector":
        return _export_branches(checkpoint, about, kind)
    settings = ModelSettings(**about["model"])
    if about["kind"] == "vit":
        parameters = _load_parameters(checkpoint, abstract_vit(settings)[1])
        trained = {name: tuple(numbers) for name, numbers in about["normalisation"].items()}
        return {"": ExportedFile(_export_vit(parameters, settings, kind), Normalisation(**trained))}
    parameters = _load_parameters(checkpoint, abstract_mae(settings)[1])
    unit_range = NORMALISATIONS["none"]
    if kind == "timm":
        encoder = vit_from_mae(parameters, settings)
        return {"": ExportedFile(_export_vit(encoder, settings, kind), unit_range)}
    complete = {**parameters, **fixed_positions(settings)}
    return {
        "": ExportedFile(to_source(complete, MAE_TABLES[kind], settings.shape.heads), unit_range)
    }


def _export_branches(
    checkpoint: pathlib.Path, about: Mapping[str, Any], kind: str
) -> dict[str, ExportedFile]:
    settings = DetectionSettings.from_json(about["detection"])
    if settings.is_rival:
        raise UserError(
            f"--input {checkpoint} holds a detector of backbone {settings.backbone}; only MAEs and "
            "ViTs can be exported"
        )
    if settings.pretrained is not None:
        raise UserError(
            f"--input {checkpoint} holds a detector with a pretrained backbone, which is not "
            "exported; only MAEs and ViTs are"
        )
    if settings.additions:
        raise UserError(
            f"--input {checkpoint} has detector.embedding={settings.embedding}, and ViTs in other "
            "programs have a linear one; it cannot be exported"
        )
    branches = _load_parameters(checkpoint, Detection(settings, jnp.float32).abstract_parameters)[
        "branches"
    ]
    reads = {
        "original": Normalisation(settings.mean, settings.std),
        "residual": NORMALISATIONS["none"],
    }
    return {
        f"-{name}" if len(branches) > 1 else "": ExportedFile(
            _export_vit(branch, settings.model, kind), reads[name], residuals=name == "residual"
        )
        for name, branch in branches.items()
    }


def _export_vit(parameters: PyTree, settings: ModelSettings, kind: str) -> dict[str, np.ndarray]:
    if kind not in VIT_TABLES:
        raise UserError("--kind mae is for a MAE; a ViT goes out as timm or hf")
    return to_source(parameters, VIT_TABLES[kind], settings.shape.heads)


def _load_parameters(checkpoint: pathlib.Path, abstract: PyTree) -> PyTree:
    return jax.device_get(load_weights(checkpoint, "--input", abstract, make_mesh(1)))


def _make_metadata(
    about: Mapping[str, Any], kind: str, normalisation: Normalisation
) -> dict[str, str]:
    """The metadata of a file; `rffr_jax.convert.facts` reads all but the first two entries."""
    metadata = {
        "producer": "rffr_jax",
        "exported": f"{about['kind']} as {kind}",
        "image_mean": " ".join(map(str, normalisation.mean)),
        "image_std": " ".join(map(str, normalisation.std)),
    }
    model = about["detection"]["model"] if about["kind"] == "detector" else about["model"]
    size = ModelSettings(**model).shape
    metadata["num_attention_heads"] = str(size.heads)
    if about["kind"] == "mae":
        metadata["decoder_num_attention_heads"] = str(size.decoder_heads)
        metadata["norm_pix_loss"] = json.dumps(about.get("normalised_targets", False))
    return metadata
