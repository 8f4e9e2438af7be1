"""A file of another project's weights as the parameters of our ViT or MAE."""

import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from rffr_jax import __version__
from rffr_jax.convert.files import WeightFile, open_weights, sha256
from rffr_jax.convert.known import ASSUMED, Facts
from rffr_jax.convert.normalisation import NORMALISATIONS, Normalisation, fold_normalisation
from rffr_jax.convert.recognise import (
    WITH_DECODER,
    Network,
    choose_table,
    infer_model_settings,
    recognise_network,
)
from rffr_jax.convert.rules import to_ours
from rffr_jax.convert.settings import read_stated_settings
from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES, fixed_positions
from rffr_jax.convert.targets import probe_decoder
from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract_mae, abstract_vit

KINDS = ("timm", "hf", "google", "mae", "rffr")
TARGETS = ("auto", "pixels", "normalised")
ROUNDED = 4e-3  # a file may hold bfloat16
PACKAGES = ("jax", "numpy")


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What the person who converts says of a file; it counts more than what the file tells.

    Attributes:
      kind: one of `KINDS`, or `auto`: told by the names in the file.
      normalisation: one of `NORMALISATIONS`, or `auto`: as far as the file tells.
      heads, decoder_heads: of the attention.
      targets: what a decoder predicts, one of `TARGETS`.
      prefix: of the network to take, where a file holds several.
    """

    kind: str = "auto"
    normalisation: str = "auto"
    heads: int | None = None
    decoder_heads: int | None = None
    targets: str = "auto"
    prefix: str | None = None


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """What came out of a file.

    Attributes:
      parameters: of our `ViT` or `MAE`, float32.
      about: what the checkpoint will say of itself.
      notes: what the person who converts should know, a line each.
    """

    parameters: PyTree
    about: dict[str, Any]
    notes: list[str]


def import_weights(path: pathlib.Path, asked: ImportOptions = ImportOptions()) -> ImportedWeights:
    """Reads a file and brings its arrays under our names.

    A MAE's normalisation is folded into its weights, so that it reads and predicts pixels in
    [0, 1] as RFFR's MAE does; a ViT's is recorded, and the weights stay as they are.

    Args:
      path: a file of weights, an index of shards, or a folder with one of these.

    Raises:
      UserError: a file that cannot be read, holds something else, or does not fit any size here.
    """
    if asked.kind not in ("auto", *KINDS):
        raise UserError(f"--kind {asked.kind!r} is not known; choose auto, {', '.join(KINDS)}")
    if asked.targets not in TARGETS:
        raise UserError(f"--targets {asked.targets!r} is not known; choose {', '.join(TARGETS)}")
    with open_weights(path) as file:
        network = recognise_network(file, asked.prefix)
        if asked.kind not in ("auto", network.kind):
            if {asked.kind, network.kind} != {"mae", "rffr"}:
                _refuse_kind(file.path, asked.kind, network.kind)
            network = dataclasses.replace(network, kind=asked.kind)
        imported = (_import_mae if network.decodes else _import_vit)(file, network, asked)
    _become_jax(imported.parameters)
    return imported


def _become_jax(tree: dict[str, Any]):
    """Turns NumPy arrays, which Orbax would copy, into JAX's; one at a time, to save memory."""
    for name, value in tree.items():
        if isinstance(value, dict):
            _become_jax(value)
        else:
            tree[name] = jax.device_put(value)


def _refuse_kind(path: pathlib.Path, kind: str, found: str):
    if kind in ("mae", "rffr") and found == "timm":
        raise UserError(
            f"{path} has an encoder and no decoder, so it cannot inpaint; convert {WITH_DECODER}, "
            "or this file with --kind timm for --config.detector.init"
        )
    raise UserError(f"{path} is of kind {found} by its names, not {kind}")


def _import_vit(file: WeightFile, network: Network, asked: ImportOptions) -> ImportedWeights:
    for flag, given in (("decoder-heads", asked.decoder_heads), ("targets", asked.targets)):
        if given not in (None, "auto"):
            raise UserError(f"{file.path} has no decoder, so leave out --{flag}")
    arrays = network.arrays.without("vit.")
    table = choose_table(VIT_TABLES, network.kind, arrays)
    settings = infer_model_settings(arrays, table, file.path, with_decoder=False)
    parameters, left_out = to_ours(arrays, table, abstract_vit(settings)[1], str(file.path))
    known = Facts(file.path, read_stated_settings(file, network.kind, False, settings))
    settings = known.with_heads(settings, network, {"heads": asked.heads})
    fixed = np.allclose(
        parameters["positions"], fixed_positions(settings)["positions"], atol=ROUNDED
    )
    usual = "imagenet" if fixed or file.wrapper else "half"
    trained = known.normalisation(asked.normalisation, usual)
    known.check_arithmetic()
    notes = _notes(network, left_out, known)
    if fixed:
        notes.append(
            "this is the encoder of a MAE: a start for --config.detector.init, but nothing that "
            f"inpaints; for --config.mae convert a file with a decoder ({WITH_DECODER})"
        )
    about = {
        "kind": "vit",
        "model": dataclasses.asdict(settings),
        "normalisation": dataclasses.asdict(trained),
        "provenance": _provenance(file, network, left_out, trained, known.by),
    }
    return ImportedWeights(parameters, about, notes)


def _import_mae(file: WeightFile, network: Network, asked: ImportOptions) -> ImportedWeights:
    arrays, rffr = network.arrays, network.kind == "rffr"
    table = choose_table(MAE_TABLES, network.kind, arrays)
    settings = infer_model_settings(arrays, table, file.path, with_decoder=True)
    fixed = fixed_positions(settings)
    abstract = {**abstract_mae(settings)[1], **jax.eval_shape(lambda: fixed)}
    parameters, left_out = to_ours(arrays, table, abstract, str(file.path))
    known = Facts(file.path, read_stated_settings(file, network.kind, True, settings))
    if rffr and asked.kind == "auto":
        known.add(
            ASSUMED,
            "a MAE of the RFFR authors (pixels in [0, 1], k = 4), because it lies under "
            "`state_dict` (--kind mae says otherwise)",
        )
    heads = {"heads": asked.heads, "decoder_heads": asked.decoder_heads}
    settings = known.with_heads(settings, network, heads)
    zero = _take_positions(parameters, fixed, file.path)
    trained = known.normalisation(asked.normalisation, "none" if rffr else "imagenet")
    known.check_arithmetic()
    explained = probe_decoder(parameters, settings, trained)
    normalised_targets = known.normalised_targets(asked.targets, explained)
    notes = [*_notes(network, left_out, known), *zero]
    if trained != NORMALISATIONS["none"]:
        parameters = fold_normalisation(parameters, trained)
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
        "k": 4 if rffr else None,
        "mask": {"kind": "random", "ratio": 0.75},
        "input_range": [0.0, 1.0],
        "normalised_targets": normalised_targets,
        "provenance": _provenance(file, network, left_out, trained, known.by),
    }
    return ImportedWeights(parameters, about, notes)


def _take_positions(
    parameters: dict[str, Any], fixed: Mapping[str, np.ndarray], path: pathlib.Path
) -> list[str]:
    """Takes a MAE's positions out of its arrays; a warning for each that is replaced.

    Raises:
      UserError: positions that are not the fixed ones.
    """
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
                f"{path}: its {said} are not the fixed sine-cosine ones, which our MAE has"
            )
    return notes


# ---- what is told and recorded


def _notes(network: Network, left_out: Sequence[str], known: Facts) -> list[str]:
    notes = list(known.notes)
    if network.prefix:
        notes.append(f"took the prefix {network.prefix!r} off the names")
    if network.others:
        notes.append(f"left out (not under that prefix): {network.other_groups()}")
    if left_out:
        notes.append(f"left out (it has no place here): {', '.join(left_out)}")
    return notes


def _provenance(
    file: WeightFile,
    network: Network,
    left_out: Sequence[str],
    trained: Normalisation,
    by: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    shards = {"shards": {shard.name: sha256(shard) for shard in file.shards}} if file.shards else {}
    return {
        "file": file.path.name,
        "sha256": sha256(file.path),
        **shards,
        "kind": network.kind,
        "prefix": network.prefix,
        "left_out": [*left_out, *network.others],
        "assumed": by.get(ASSUMED, []),
        "told": {source: facts for source, facts in by.items() if source != ASSUMED},
        "trained_with": dataclasses.asdict(trained),
        "versions": {
            "rffr-jax": __version__,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
