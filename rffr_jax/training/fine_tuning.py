"""A detector that is trained further: `init_from` of the job `detect`.

Its settings and its MAE come with it, so that a config does not repeat them. They are read before
anything is computed, so nothing here imports JAX.
"""

import pathlib
from collections.abc import Collection
from typing import Any

from rffr_jax.config import Config, flat
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object
from rffr_jax.runs.checkpoints.names import FROZEN
from rffr_jax.runs.model_names import BOX, folder_of_model, is_portable

OF_MODEL = ("size", "image_size", "patch_size")
OF_BLOCKS = ("k", "alpha", "blocks_per_pass")
OF_DETECTOR = ("backbone", "inputs", "blocks", "residual", "embedding", "mean", "std")
BROUGHT = (
    *(f"model.{name}" for name in OF_MODEL),
    *(f"blocks.{name}" for name in OF_BLOCKS),
    *(f"detector.{name}" for name in OF_DETECTOR),
)
"""Entries of a config that a detector brings with it, beside all of the section `rival`."""


def with_settings_of_detector(config: Config, changed: Collection[str]) -> Config:
    """The config of `detect` with the settings and the MAE of the detector in `init_from`.

    Args:
      changed: the entries that flags set.

    Raises:
      UserError: there is no detector, no data to train on, or a flag sets what the detector brings
        with it.
    """
    if not config.data.train:
        raise UserError(
            "there is nothing to train on; name your faces with --config.data.train=folder:DIR"
        )
    for name in sorted(changed):
        if name in ("mae", "detector.init") or _is_brought(name):
            raise UserError(
                f"--config.{name}: init_from={config.init_from} brings its own; leave one out"
            )
    folder = folder_of_model(config.init_from, "init_from")
    settings = _settings_of(folder)
    residual = settings["detector.residual"]
    config = config.copy_and_resolve_references()
    with config.rival.unlocked():
        for name, value in settings.items():
            section, _, key = name.partition(".")
            config[section][key] = tuple(value) if isinstance(value, list) else value
    config.detector.init = ""
    if settings["detector.inputs"] != "original" and residual in FROZEN:
        own = folder / FROZEN[residual]
        whole = config.init_from if is_portable(config.init_from) else str(folder)
        config.mae = str(own) if own.is_dir() else whole
    return config


def _settings_of(folder: pathlib.Path) -> dict[str, Any]:
    """The entries that a model folder or a workdir brings, where they are known."""
    file = folder / "config.json"
    found = read_json_object(file) if file.is_file() else {}
    try:
        settings = _of_workdir(found) if found.get("job") == "detect" else _of_model_folder(found)
    except (AttributeError, KeyError, TypeError):
        settings = {}  # damaged, or of something else
    if settings.pop("backbone", False):
        raise UserError(
            f"init_from={folder} holds a detector with a pretrained backbone, which is not trained "
            "further; start a new one from --config.backbone.weights"
        )
    if not {"detector.inputs", "detector.residual"} <= settings.keys():
        raise UserError(
            f"init_from={folder} holds no detector; name a workdir of detect, a model folder of a "
            f"detector, or {BOX} for the installed one"
        )
    return settings


def _of_workdir(config: dict[str, Any]) -> dict[str, Any]:
    brought = {name: value for name, value in flat(config).items() if _is_brought(name)}
    return brought | {"backbone": bool(config.get("backbone", {}).get("weights"))}


def _of_model_folder(config: dict[str, Any]) -> dict[str, Any]:
    detection = config["about"]["detection"]
    parts = {
        "model": detection["model"],
        "blocks": {name: detection[name] for name in OF_BLOCKS},
        "detector": {
            "backbone": detection.get("backbone", "vit"),
            **{name: detection[name] for name in OF_DETECTOR[1:]},
        },
        "rival": detection.get("rival") or {},
    }
    return flat(parts) | {"backbone": detection.get("pretrained") is not None}


def _is_brought(name: str) -> bool:
    return name in BROUGHT or name.startswith("rival.")
