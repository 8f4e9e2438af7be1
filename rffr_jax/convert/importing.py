"""Weights of other projects as a checkpoint of our ViT, MAE or convolutional backbone."""

import dataclasses
import importlib.metadata
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from rffr_jax import __version__
from rffr_jax.convert.backbones import BACKBONES, COUNTERS
from rffr_jax.convert.facts import ASSUMED, CONFIG, PREPROCESSOR, Facts, add_names_of_transformers
from rffr_jax.convert.files import WeightFile, open_weights
from rffr_jax.convert.normalisation import (
    NORMALISATIONS,
    Normalisation,
    fold_normalisation,
    normalisation_by_name,
    stated_normalisation,
)
from rffr_jax.convert.recognise import (
    SUPPORTED,
    WITH_DECODER,
    Network,
    choose_table,
    infer_model_settings,
    recognise_network,
)
from rffr_jax.convert.rules import to_ours
from rffr_jax.convert.tables import MAE_TABLES, VIT_TABLES, fixed_positions
from rffr_jax.convert.targets import probe_decoder
from rffr_jax.convert.vision_transformers import find_facts, read_beside
from rffr_jax.errors import UserError
from rffr_jax.models.abstract import abstract, abstract_mae, abstract_vit
from rffr_jax.runs.atomic_files import sha256
from rffr_jax.runs.checkpoints.weights import save_weights

KINDS = ("timm", "hf", "google", "mae", "rffr", *BACKBONES)
TARGETS = ("auto", "pixels", "normalised")
ROUNDED = 4e-3  # a file may hold bfloat16
PACKAGES = ("jax", "numpy")


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """The flags of an import; they override what the file says.

    Attributes:
      kind: one of `KINDS`, or `auto`: found by the names in the file.
      normalisation: one of `NORMALISATIONS`, or `auto`: that of the file.
      heads, decoder_heads: of the attention.
      targets: of a decoder, one of `TARGETS`.
      prefix: of the network to import, if a file holds several.
    """

    kind: str = "auto"
    normalisation: str = "auto"
    heads: int | None = None
    decoder_heads: int | None = None
    targets: str = "auto"
    prefix: str | None = None


@dataclasses.dataclass(frozen=True)
class ImportedWeights:
    """The result of an import.

    Attributes:
      parameters: of our `ViT`, `MAE`, `Xception` or `EfficientNet`, float32.
      about: the description for the checkpoint.
      notes: lines for the person who converts.
    """

    parameters: PyTree
    about: dict[str, Any]
    notes: list[str]


def import_weights(path: pathlib.Path, options: ImportOptions = ImportOptions()) -> ImportedWeights:
    """Reads a file and brings its arrays under our names.

    A MAE's normalisation is folded into its weights, so that it reads and predicts pixels in
    [0, 1] as RFFR's MAE does. A ViT's is recorded, and its weights stay as they are.

    Args:
      path: a file of weights, an index of shards, or a folder with one of these.

    Raises:
      UserError: the file cannot be read, holds another network, or fits no size here.
    """
    if options.kind not in ("auto", *KINDS):
        raise UserError(f"--kind {options.kind!r} is not known; choose auto, {', '.join(KINDS)}")
    if options.targets not in TARGETS:
        raise UserError(f"--targets {options.targets!r} is not known; choose {', '.join(TARGETS)}")
    with open_weights(path) as file:
        network = recognise_network(file, options.prefix)
        if options.kind not in ("auto", network.kind):
            if {options.kind, network.kind} != {"mae", "rffr"}:
                _refuse_kind(file.path, options.kind, network.kind)
            network = dataclasses.replace(network, kind=options.kind)
        if network.kind in BACKBONES:
            read = _import_backbone
        else:
            read = _import_mae if network.has_decoder else _import_vit
        imported = read(file, network, options)
    _move_to_jax(imported.parameters)
    return imported


def _move_to_jax(tree: dict[str, Any]):
    """Turns NumPy arrays, which Orbax would copy, into JAX's; one at a time, to save memory."""
    for name, value in tree.items():
        if isinstance(value, dict):
            _move_to_jax(value)
        else:
            tree[name] = jax.device_put(value)


def _refuse_kind(path: pathlib.Path, kind: str, found: str):
    if kind in ("mae", "rffr") and found == "timm":
        raise UserError(
            f"{path} has an encoder and no decoder, so it cannot inpaint; convert {WITH_DECODER}, "
            "or this file with --kind timm for --config.detector.init"
        )
    raise UserError(f"{path} is of kind {found} by its names, not {kind}; leave out --kind")


def _import_vit(file: WeightFile, network: Network, options: ImportOptions) -> ImportedWeights:
    for flag, given in (("decoder-heads", options.decoder_heads), ("targets", options.targets)):
        if given not in (None, "auto"):
            raise UserError(f"{file.path} has no decoder, so leave out --{flag}")
    arrays = network.arrays.without_prefix("vit.")
    table = choose_table(VIT_TABLES, network.kind, arrays)
    settings = infer_model_settings(arrays, table, file.path, with_decoder=False)
    parameters, left_out = to_ours(arrays, table, abstract_vit(settings)[1], str(file.path))
    facts = Facts(file, network, settings)
    settings = facts.find_heads({"heads": options.heads})
    has_fixed_positions = np.allclose(
        parameters["positions"], fixed_positions(settings)["positions"], atol=ROUNDED
    )
    usual = "imagenet" if has_fixed_positions or file.wrapper else "half"
    trained = facts.find_normalisation(options.normalisation, usual)
    facts.check_arithmetic()
    notes = facts.notes + _make_notes(network, left_out)
    if has_fixed_positions:
        notes.append(
            "this is the encoder of a MAE: a start for --config.detector.init, but it cannot "
            f"inpaint; for --config.mae convert a file with a decoder ({WITH_DECODER})"
        )
    about = {
        "kind": "vit",
        "model": dataclasses.asdict(settings),
        "normalisation": dataclasses.asdict(trained),
        "provenance": _provenance(file, network, left_out, trained, facts.by_source),
    }
    return ImportedWeights(parameters, about, notes)


def _import_mae(file: WeightFile, network: Network, options: ImportOptions) -> ImportedWeights:
    arrays, is_rffr = network.arrays, network.kind == "rffr"
    table = choose_table(MAE_TABLES, network.kind, arrays)
    settings = infer_model_settings(arrays, table, file.path, with_decoder=True)
    fixed = fixed_positions(settings)
    abstract = {**abstract_mae(settings)[1], **jax.eval_shape(lambda: fixed)}
    parameters, left_out = to_ours(arrays, table, abstract, str(file.path))
    facts = Facts(file, network, settings)
    if is_rffr and options.kind == "auto":
        facts.add(
            ASSUMED,
            "a MAE of the RFFR authors (pixels in [0, 1], k = 4), because it lies under "
            "`state_dict` (--kind mae says otherwise)",
        )
    heads = {"heads": options.heads, "decoder_heads": options.decoder_heads}
    settings = facts.find_heads(heads)
    position_notes = _remove_positions(parameters, fixed, file.path)
    trained = facts.find_normalisation(options.normalisation, "none" if is_rffr else "imagenet")
    facts.check_arithmetic()
    explained = probe_decoder(parameters, settings, trained)
    normalised_targets = facts.find_normalised_targets(options.targets, explained)
    notes = [*facts.notes, *_make_notes(network, left_out), *position_notes]
    if trained != NORMALISATIONS["none"]:
        parameters = fold_normalisation(parameters, trained)
        does = "reads" if normalised_targets else "reads and predicts"
        notes.append(f"folded that into the weights: this MAE {does} pixels in [0, 1]")
    if normalised_targets:
        notes.append(
            "WARNING: this decoder was trained to predict patches normalised by their own mean and "
            "spread, which it does not predict: its reconstructions have neither the brightness "
            "nor the contrast of the face, and its residuals will be poor; convert "
            f"{WITH_DECODER} instead"
        )
    about = {
        "kind": "mae",
        "model": dataclasses.asdict(settings),
        "k": 4 if is_rffr else None,
        "mask": {"kind": "random", "ratio": 0.75},
        "input_range": [0.0, 1.0],
        "normalised_targets": normalised_targets,
        "provenance": _provenance(file, network, left_out, trained, facts.by_source),
    }
    return ImportedWeights(parameters, about, notes)


def _import_backbone(file: WeightFile, network: Network, options: ImportOptions) -> ImportedWeights:
    flags = {"decoder-heads": options.decoder_heads, "targets": options.targets}
    if network.kind not in SUPPORTED:
        flags["heads"] = options.heads
    for flag, given in flags.items():
        if given not in (None, "auto"):
            raise UserError(f"{file.path} is a {network.kind}, so leave out --{flag}")
    backbone = BACKBONES[network.kind]
    names = [name for name in network.arrays if not name.endswith(COUNTERS)]
    arrays = network.arrays.select(names)
    settings, facts, notes = backbone.infer(arrays, file.path), {}, []
    if network.kind in SUPPORTED:
        settings, facts = find_facts(settings, file.path, options.heads)
        if CONFIG not in facts and file.path.with_name(CONFIG).is_file():
            notes.append(
                f"{CONFIG} beside it tells no heads, activation or epsilon: it names no such "
                "network, or other sizes than the arrays have"
            )
    _, shapes = abstract(lambda rngs: backbone.build(settings, rngs))
    table = backbone.table(settings, arrays)
    parameters, left_out = to_ours(arrays, table, shapes, str(file.path))
    trained, source, unused = _backbone_normalisation(
        network.kind, file.path, settings, options.normalisation
    )
    hint = " (--normalisation says otherwise)" if source == ASSUMED else ""
    fact = f"trained on pixels in [0, 1] normalised with {trained}{hint}"
    facts = {**facts, source: [*facts.get(source, ()), fact]}
    notes += [*unused, *_make_notes(network, left_out)]
    about = {
        "kind": "backbone",
        "network": network.kind,
        "model": dataclasses.asdict(settings),
        "normalisation": dataclasses.asdict(trained),
        "provenance": _provenance(file, network, left_out, trained, facts),
    }
    return ImportedWeights(parameters, about, notes)


def _backbone_normalisation(
    kind: str, path: pathlib.Path, settings: Any, asked: str
) -> tuple[Normalisation, str, list[str]]:
    """The normalisation of a flag, of timm's config.json or transformers' preprocessor_config.json
    beside the file, or the usual one.

    Returns:
      It, where it is from, and notes.

    Raises:
      UserError: numbers that normalise nothing, or an unknown range of the pixels.
    """
    backbone = BACKBONES[kind]
    if asked != "auto":
        return normalisation_by_name(asked), "--normalisation", []
    config, preprocessor = read_beside(path, CONFIG), read_beside(path, PREPROCESSOR)
    usual = NORMALISATIONS[backbone.usual(path.name)]
    if not backbone.is_config_of(config, settings):
        unused = f"{PREPROCESSOR} was not used: no {CONFIG} is beside it that agrees with the "
        unused += "arrays; --normalisation replaces it"
        return usual, ASSUMED, [unused] if preprocessor else []
    for source, told in ((PREPROCESSOR, preprocessor), (CONFIG, add_names_of_transformers(config))):
        stated = stated_normalisation(told, source, path)
        if stated is not None:
            return stated, source, []
    return usual, ASSUMED, []


def _remove_positions(
    parameters: dict[str, Any], fixed: Mapping[str, np.ndarray], path: pathlib.Path
) -> list[str]:
    """Removes a MAE's positions from its arrays; returns a warning for each that is replaced.

    Raises:
      UserError: the positions are not the fixed ones.
    """
    notes = []
    for name, expected in fixed.items():
        positions, words = parameters.pop(name), name.replace("_", " ")
        if not positions.any():
            notes.append(
                f"WARNING: its {words} are all zero, as transformers 5 leaves those of a fresh "
                "model; the fixed sine-cosine ones take their place"
            )
        elif not np.allclose(positions, expected, atol=ROUNDED):
            raise UserError(
                f"{path}: its {words} are not the fixed sine-cosine ones, which our MAE has; "
                f"convert {WITH_DECODER} instead"
            )
    return notes


def _make_notes(network: Network, left_out: Sequence[str]) -> list[str]:
    notes = []
    if network.prefix:
        notes.append(f"took the prefix {network.prefix!r} off the names")
    if network.others:
        notes.append(f"left out (not under that prefix): {network.summarise_others()}")
    if left_out:
        notes.append(f"left out (it has no place here): {', '.join(left_out)}")
    return notes


def _provenance(
    file: WeightFile,
    network: Network,
    left_out: Sequence[str],
    trained: Normalisation,
    by_source: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    shards = {"shards": {shard.name: sha256(shard) for shard in file.shards}} if file.shards else {}
    return {
        "file": file.path.name,
        "sha256": sha256(file.path),
        **shards,
        "kind": network.kind,
        "prefix": network.prefix,
        "left_out": [*left_out, *network.others],
        "assumed": by_source.get(ASSUMED, []),
        "told": {source: facts for source, facts in by_source.items() if source != ASSUMED},
        "trained_with": dataclasses.asdict(trained),
        "versions": {
            "rffr-jax": __version__,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }


# ---- the checkpoint


def refuse_output(output: pathlib.Path, overwrite: bool):
    """Raises: UserError if the output exists and must not be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not overwrite:
        raise UserError(f"--output {output} exists; name another folder, or give --overwrite")
    # Folders of data and of runs can have numbers as names, too.
    entries = list(output.iterdir()) if output.is_dir() else []
    if not entries or not all(e.name.isdigit() and (e / "about").is_dir() for e in entries):
        raise UserError(
            f"--output {output} is no checkpoint, so --overwrite does not touch it; name another "
            "folder"
        )


def write_converted(output: pathlib.Path, imported: ImportedWeights, overwrite: bool = False):
    """Writes the checkpoint beside `output` and renames it when it is complete.

    Raises:
      UserError: the output exists or cannot be written.
    """
    refuse_output(output, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=output.parent, prefix=f".{output.name}-", ignore_cleanup_errors=True
        ) as folder:
            new, old = pathlib.Path(folder, "new"), pathlib.Path(folder, "old")
            save_weights(new, 0, imported.parameters, imported.about)
            try:
                if output.exists():
                    output.rename(old)
                new.rename(output)
            except BaseException:  # an interruption, too: the folder and its content are deleted
                if old.exists() and not output.exists():
                    old.rename(output)
                raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"--output {output} cannot be written: {reason}; make room, or name another folder"
        ) from error
