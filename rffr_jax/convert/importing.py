"""A file of another project's weights as the parameters of our ViT or MAE."""

import dataclasses
import importlib.metadata
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from rffr_jax import __version__
from rffr_jax.convert.files import Arrays, WeightFile, opened
from rffr_jax.convert.normalisation import NORMALISATIONS, Normalisation, fold, named
from rffr_jax.convert.rules import Rule, find_rule, to_ours
from rffr_jax.convert.tables import (
    HUGGINGFACE_NAMES,
    MAE_TABLES,
    VIT_TABLES,
    fixed_positions,
)
from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract_mae, abstract_vit
from rffr_jax.models.sizes import SIZES, ModelSettings, ModelSize

KINDS = ("timm", "hf", "google", "mae", "rffr")
WITH_DECODER = "mae_visualize_vit_base.pth"
PATCH_EMBEDDINGS = {
    "timm": "patch_embed.proj.weight",
    "hf": "embeddings.patch_embeddings.projection.weight",
    "google": "embedding/kernel",
}
GOOGLE_QUERY = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
HUGGINGFACE_HEADS = {
    "heads": "num_attention_heads",
    "decoder_heads": "decoder_num_attention_heads",
}
DECODER_EMBEDDINGS = ("decoder_embed.weight", "decoder.decoder_embed.weight")
ROUNDED = 4e-3  # a file may hold bfloat16
PACKAGES = ("jax", "numpy")


@dataclasses.dataclass(frozen=True)
class Imported:
    """What came out of a file.

    Attributes:
      parameters: of our `ViT` or `MAE`, float32.
      about: what the checkpoint will say of itself.
      notes: what the person who converts should know, a line each.
    """

    parameters: PyTree
    about: dict[str, Any]
    notes: list[str]


def import_weights(path: pathlib.Path, kind: str = "auto", normalisation: str = "auto") -> Imported:
    """Reads a file and brings its arrays under our names.

    A MAE's normalisation is folded into its weights, so that it reads and predicts pixels in
    [0, 1] as RFFR's MAE does; a ViT's is recorded, and the weights stay as they are.

    Args:
      kind: one of `KINDS`, or `auto`: told by the names in the file.
      normalisation: one of `NORMALISATIONS`, or `auto`: as far as the file tells.

    Raises:
      UserError: a file that cannot be read, holds something else, or does not fit any size here.
    """
    if kind not in ("auto", *KINDS):
        raise UserError(f"--kind {kind!r} is not known; choose auto, {', '.join(KINDS)}")
    with opened(path) as file:
        _refuse_detector(file)
        found, decodes = _recognise(file)
        guessed = kind == "auto"
        if guessed:
            kind = found
        elif kind != found and {kind, found} != {"mae", "rffr"}:
            _refuse_kind(path, kind, found)
        imported = (_import_mae if decodes else _import_vit)(file, kind, normalisation)
    if guessed and kind == "rffr":
        imported.notes.insert(
            0,
            "taken as a MAE of the RFFR authors (pixels in [0, 1], k = 4) because it lies under "
            "`state_dict`; for another MAE say --kind mae",
        )
    _become_jax(imported.parameters)
    return imported


def _become_jax(tree: dict[str, Any]):
    """Turns NumPy arrays, which Orbax would copy, into JAX's; one at a time, to save memory."""
    for name, value in tree.items():
        if isinstance(value, dict):
            _become_jax(value)
        else:
            tree[name] = jax.device_put(value)


def _import_vit(file: WeightFile, kind: str, normalisation: str) -> Imported:
    arrays = file.arrays.without("vit.")
    table = _table(VIT_TABLES, kind, arrays)
    settings = _settings(arrays, table, file.path, with_decoder=False)
    parameters, left_out = to_ours(arrays, table, abstract_vit(settings)[1], str(file.path))
    _check_heads(file, kind, settings, "heads")
    fixed = np.allclose(
        parameters["positions"], fixed_positions(settings)["positions"], atol=ROUNDED
    )
    usual = "imagenet" if fixed or file.wrapper else "half"
    trained, note = _normalisation(file, normalisation, usual)
    notes = [note]
    if left_out:
        notes.append(f"left out (it has no place here): {', '.join(left_out)}")
    if fixed:
        notes.append(
            "this is the encoder of a MAE: a start for --config.detector.init, but nothing that "
            f"inpaints; for --config.mae convert a file with a decoder ({WITH_DECODER})"
        )
    about = {
        "kind": "vit",
        "model": dataclasses.asdict(settings),
        "normalisation": dataclasses.asdict(trained),
        "provenance": _provenance(file, kind, left_out, trained),
    }
    return Imported(parameters, about, notes)


def _import_mae(file: WeightFile, kind: str, normalisation: str) -> Imported:
    arrays = file.arrays
    table = _table(MAE_TABLES, kind, arrays)
    settings = _settings(arrays, table, file.path, with_decoder=True)
    fixed = fixed_positions(settings)
    abstract = {**abstract_mae(settings)[1], **jax.eval_shape(lambda: fixed)}
    parameters, left_out = to_ours(arrays, table, abstract, str(file.path))
    _check_heads(file, kind, settings, "heads", "decoder_heads")
    notes = []
    for name, expected in fixed.items():
        positions, said = parameters.pop(name), name.replace("_", " ")
        if not positions.any():
            notes.append(
                f"WARNING: its {said} are all zero, as transformers 5 leaves those of a fresh "
                "model; the fixed sine-cosine ones take their place"
            )
        elif not np.allclose(positions, expected, atol=ROUNDED):
            raise UserError(
                f"{file.path}: its {said} are not the fixed sine-cosine ones, which our MAE has"
            )

    usual = "none" if kind == "rffr" else "imagenet"
    trained, note = _normalisation(file, normalisation, usual)
    notes.append(note)
    normalised_targets = _predicts_normalised(file, kind)
    if trained != NORMALISATIONS["none"]:
        parameters = fold(parameters, trained)
        does = "reads" if normalised_targets else "reads and predicts"
        notes.append(f"folded that into the weights: this MAE {does} pixels in [0, 1]")
    if normalised_targets:
        notes.append(
            "WARNING: this decoder was trained to predict patches normalised by their own mean and "
            "spread, which it does not tell: what it inpaints has neither the brightness nor the "
            f"contrast of the face, and its residuals will be poor; convert {WITH_DECODER} instead"
        )
    about = {
        "kind": "mae",
        "model": dataclasses.asdict(settings),
        "k": 4 if kind == "rffr" else None,
        "mask": {"kind": "random", "ratio": 0.75},
        "input_range": [0.0, 1.0],
        "normalised_targets": normalised_targets,
        "provenance": _provenance(file, kind, left_out, trained),
    }
    return Imported(parameters, about, notes)


# ---- what a file is


def _refuse_detector(file: WeightFile):
    if any(re.search(r"(^|\.)backbone_[12]\.", name) for name in file.arrays):
        raise UserError(
            f"{file.path} is a detector of the RFFR authors: their code read a patch in place of "
            "the class token, and residuals one patch to the right, so its weights mean nothing in "
            "a forward pass without those errors; convert their MAE, and train the detector"
        )


def _recognise(file: WeightFile) -> tuple[str, bool]:
    """The kind of a file by its names, and whether it has a MAE's decoder."""
    names = file.arrays.without("vit.")
    kind = next((kind for kind, name in PATCH_EMBEDDINGS.items() if name in names), None)
    if kind is None:
        first = ", ".join(list(names)[:3])
        raise UserError(f"{file.path} is no ViT or MAE known here; its first names are {first}")
    decodes = any(name in names for name in DECODER_EMBEDDINGS)
    if kind == "timm" and decodes:
        kind = "rffr" if file.wrapper == "state_dict" else "mae"
    return kind, decodes


def _table(tables: Mapping[str, Sequence[Rule]], kind: str, arrays: Arrays) -> Sequence[Rule]:
    """The kind's table; of Hugging Face's several the one that most names of the file are in."""
    if kind != "hf":
        return tables[kind]

    def known(table: Sequence[Rule]) -> int:
        return sum(find_rule(table, name) is not None for name in arrays)

    return max((tables[name] for name in HUGGINGFACE_NAMES), key=known)


def _refuse_kind(path: pathlib.Path, kind: str, found: str):
    if kind in ("mae", "rffr") and found == "timm":
        raise UserError(
            f"{path} has an encoder and no decoder, so it cannot inpaint; convert {WITH_DECODER}, "
            "or this file with --kind timm for --config.detector.init"
        )
    raise UserError(f"{path} is of kind {found} by its names, not {kind}")


def _settings(
    arrays: Arrays, table: Sequence[Rule], path: pathlib.Path, *, with_decoder: bool
) -> ModelSettings:
    """The size, image and patches that a file's shapes tell."""
    rules = {rule.path: rule for rule in table if rule.path}

    def shape(place: str) -> tuple[int, ...]:
        rule = rules[place]
        if rule.name not in arrays:
            raise UserError(f"{path} does not fit; missing: {rule.name}")
        array = arrays[rule.name]
        try:
            return rule.transform.to_ours(array).shape
        except (ValueError, IndexError):
            raise UserError(f"{path} does not fit; misshaped: {rule.name} {array.shape}") from None

    def depth(place: str) -> int:
        numbers = (rules[f"{place}/blocks/expand/kernel"].block(name) for name in arrays)
        return 1 + max((number for number in numbers if number is not None), default=-1)

    pixels, width = shape("embedding/kernel")
    tokens = shape("positions")[0]
    patch, grid = round((pixels / 3) ** 0.5), round((tokens - 1) ** 0.5)
    if 3 * patch**2 != pixels or 1 + grid**2 != tokens:
        raise UserError(
            f"{path} does not fit: patches of {pixels} numbers and {tokens} positions are not "
            "three colours of a square patch, and a class token with a square grid"
        )
    found = {"width": width, "depth": depth("encoder" if with_decoder else "transformer")}
    if with_decoder:
        found["decoder_width"] = shape("decoder_embedding/bias")[0]
        found["decoder_depth"] = depth("decoder")
    return ModelSettings(_size(found, path), image_size=grid * patch, patch_size=patch)


def _size(found: Mapping[str, int], path: pathlib.Path) -> str:
    for name, size in SIZES.items():
        if all(getattr(size, field) == value for field, value in found.items()):
            return name
    known = "; ".join(f"{name} {_said(size, found)}" for name, size in SIZES.items())
    said = ", ".join(f"{field.replace('_', ' ')} {value}" for field, value in found.items())
    raise UserError(f"{path} is of no size known here: {said}; known: {known}")


def _said(size: ModelSize, found: Mapping[str, int]) -> str:
    return " x ".join(str(getattr(size, field)) for field in found)


def _check_heads(file: WeightFile, kind: str, settings: ModelSettings, *fields: str):
    """Raises: UserError for other numbers of heads than the size has, where the file tells them."""
    told = {}
    if kind == "google" and GOOGLE_QUERY in file.arrays:
        told = {"heads": file.arrays[GOOGLE_QUERY].shape[1]}
    elif kind == "hf":
        told = {field: file.said.get(HUGGINGFACE_HEADS[field]) for field in fields}
    for field, there in told.items():
        here = getattr(settings.shape, field)
        if there not in (None, here):
            raise UserError(
                f"{file.path} is of no size known here: {field.replace('_', ' ')} {there}, where "
                f"{settings.size} has {here}"
            )


def _predicts_normalised(file: WeightFile, kind: str) -> bool:
    """Whether a decoder predicts normalised patches: as told, else by facebookresearch's names."""
    if kind == "rffr":
        return False
    named_so = re.match(r"mae_pretrain_vit_\w+_full", file.path.stem) is not None
    return str(file.said.get("norm_pix_loss", named_so)).lower() == "true"


# ---- what is recorded


def _normalisation(file: WeightFile, asked: str, usual: str) -> tuple[Normalisation, str]:
    """The one asked for, else the one that the file tells, else the kind's usual one; and a note
    that says which of these it is."""
    mean, std = file.said.get("image_mean"), file.said.get("image_std")
    if asked != "auto":
        trained, why = named(asked), "as --normalisation says"
    elif mean is None or std is None:
        trained, why = NORMALISATIONS[usual], "assumed; --normalisation says otherwise"
    else:
        why = "as the file or the settings beside it say"
        try:
            trained = Normalisation(_colours(mean), _colours(std))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{file.path}: its image_mean {mean!r} and image_std {std!r} are not three numbers "
                "each, the latter above 0; say --normalisation"
            ) from error
    return trained, f"trained on pixels in [0, 1] normalised with {trained} ({why})"


def _colours(numbers: str | Sequence[float | int]) -> tuple[float, float, float]:
    red, green, blue = numbers.split() if isinstance(numbers, str) else numbers
    return float(red), float(green), float(blue)


def _provenance(
    file: WeightFile, kind: str, left_out: list[str], trained: Normalisation
) -> dict[str, Any]:
    return {
        "file": file.path.name,
        "sha256": file.sha256(),
        "kind": kind,
        "left_out": left_out,
        "trained_with": dataclasses.asdict(trained),
        "versions": {
            "rffr-jax": __version__,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
