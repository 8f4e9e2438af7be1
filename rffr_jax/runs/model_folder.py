"""A model folder: the form in which a trained model is carried and shared.

    MODEL/model.safetensors   the arrays by their path, such as `mae.encoder.mlp_in.kernel`
    MODEL/config.json         the model, its thresholds, and the digests of all of this
    MODEL/README.md           the model card

The parts of a detector are `detector` and what its residuals come from, if anything: `mae`, `unet`
or `ridge`. A model of one part has its kind as the part's name.
"""

import functools
import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rffr_jax import __version__
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import new_folder, read_json_object, sha256, write_json
from rffr_jax.runs.checkpoints.fit import array_names, differences_between

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = "rffr_jax model 1"
TYPES = {"float32": np.float32, "float16": np.float16}


def is_model_folder(folder: pathlib.Path) -> bool:
    """Whether a model folder is here, whole or not; a run's workdir has a config.json, too."""
    if (folder / WEIGHTS).is_file():
        return True
    config = folder / CONFIG
    return config.is_file() and str(read_json_object(config).get("format", "")).startswith(
        "rffr_jax"
    )


def write_model(
    folder: pathlib.Path,
    parts: Mapping[str, PyTree],
    config: Mapping[str, Any],
    card: str,
    dtype: str = "float32",
):
    """Writes a model folder, whole or not at all.

    Args:
      folder: must not exist, or be empty.
      parts: parameters by the name of their part.
      config: `about` and whatever else config.json shall say.
      card: text of README.md.
      dtype: of the arrays, `float32` or `float16`.

    Raises:
      UserError: the folder holds something, it cannot be written, or values are not finite or too
        large for float16.
    """
    if dtype not in TYPES:
        raise UserError(f"dtype={dtype!r} is not known; choose one of {', '.join(TYPES)}")
    content = {"format": FORMAT, "version": __version__, "dtype": dtype, **config}
    with new_folder(folder) as unfinished:
        arrays = {
            f"{part}.{name}": _converted(np.asarray(array), dtype, f"{part}.{name}")
            for part, tree in parts.items()
            for name, array in array_names(tree).items()
        }
        try:
            save_file(arrays, unfinished / WEIGHTS, metadata={"format": FORMAT})
        except SafetensorError as error:
            raise OSError(error) from error
        _write_config(unfinished, content, _digest(unfinished / WEIGHTS))
        (unfinished / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")
        shutil.copymode(unfinished / CARD, unfinished / WEIGHTS)  # safetensors' is private


def read_config(folder: pathlib.Path, option: str) -> dict[str, Any]:
    """What config.json of a model folder says.

    Args:
      option: the config entry that named the folder, for messages.

    Raises:
      UserError: it is missing, damaged, or of another version of the format.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise UserError(f"{option}={folder} has no {CONFIG}; copy the whole model folder")
    config = read_json_object(file)
    written = config.get("format")
    if not str(written).startswith("rffr_jax"):
        raise UserError(
            f"{option}={folder} holds weights that this program did not write; convert them with "
            "scripts/convert_weights.py"
        )
    if written != FORMAT:
        raise UserError(
            f"{file} is not of {FORMAT!r} but of {written!r}, written by version "
            f"{config.get('version')!r}; export the model anew with `rffr-jax export-model`, or "
            "install that version"
        )
    if _dictionary(config.get("digests")).get(CONFIG) != _content_digest(config):
        raise UserError(
            f"{file} is not as the program wrote it (its SHA-256 differs): it is damaged or was "
            "edited; copy the whole model folder again"
        )
    return config


def check_model(folder: pathlib.Path, option: str) -> str:
    """The SHA-256 of the arrays, which are those that config.json was written with.

    Args:
      option: as for `read_config`.

    Raises:
      UserError: config.json or the arrays are missing or damaged.
    """
    file, config = folder / WEIGHTS, read_config(folder, option)
    if not file.is_file():
        raise UserError(f"{option}={folder} has no {WEIGHTS}; copy the whole model folder")
    digest = _digest(file)
    if digest != config["digests"].get(WEIGHTS):
        raise UserError(
            f"{file} is not the file that {CONFIG} was written with (its SHA-256 differs): it is "
            "damaged or of another model; copy the whole model folder again"
        )
    return digest


def read_part(folder: pathlib.Path, part: str, option: str, abstract: PyTree) -> PyTree:
    """The parameters of one part, in the types and the tree that are asked for.

    Raises:
      UserError: the arrays are missing, damaged, or of other shapes.
    """
    check_model(folder, option)
    file = folder / WEIGHTS
    try:
        arrays = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read ({' '.join(str(error).split())}); copy the model folder again"
        ) from None
    own = {
        name.removeprefix(f"{part}."): array
        for name, array in arrays.items()
        if name.startswith(f"{part}.")
    }
    asked = array_names(abstract)
    if different := differences_between(own, asked):
        raise UserError(f"{file}, part {part!r}, does not fit this model: {different}")
    leaves = [own[name].astype(leaf.dtype) for name, leaf in asked.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract), leaves)


def update_config(folder: pathlib.Path, **entries: Any):
    """Replaces entries of config.json."""
    config = read_config(folder, "detector")
    _write_config(folder, config | entries, config["digests"][WEIGHTS])


def changed_by_rounding(parts: Mapping[str, PyTree], dtype: str) -> bool:
    """Whether a model that is saved in `dtype` has other weights afterwards."""
    with np.errstate(over="ignore"):
        return any(
            not np.array_equal(np.asarray(array, TYPES[dtype]), array)
            for array in map(np.asarray, jax.tree.leaves(parts))
        )


def _write_config(folder: pathlib.Path, content: dict[str, Any], weights: str):
    digests = {WEIGHTS: weights, CONFIG: _content_digest(content)}
    write_json(folder / CONFIG, {**content, "digests": digests})


def _content_digest(config: dict[str, Any]) -> str:
    """The SHA-256 of all entries but the digests."""
    content = {name: value for name, value in config.items() if name != "digests"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _converted(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    if array.dtype != np.float32:
        return np.asarray(array, order="C")
    if not np.isfinite(array).all():
        raise UserError(
            f"{name} has values that are not finite: the weights are broken; use another checkpoint"
        )
    with np.errstate(over="ignore"):
        converted = np.asarray(array, TYPES[dtype], order="C")
    if not np.isfinite(converted).all():
        raise UserError(f"{name} has values that {dtype} cannot hold; save the model as float32")
    return converted


def _digest(file: pathlib.Path) -> str:
    status = file.stat()
    return _digest_of_state(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _digest_of_state(file: pathlib.Path, size: int, changed: int) -> str:
    """Read once for all parts of a model: a large file takes a second."""
    return sha256(file)
