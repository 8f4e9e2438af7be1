"""Files of weights under the names of other projects, with random numbers in them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from rffr_jax.convert.rules import Rule, to_source
from rffr_jax.convert.tables import FACEBOOK_MAE, TIMM_VIT, fixed_positions
from rffr_jax.models.abstract import abstract_mae, abstract_vit
from rffr_jax.models.sizes import ModelSettings
from scripts import convert_weights
from tests import jobs

SETTINGS = ModelSettings("tiny", jobs.SIZE, jobs.PATCH)
Arrays = dict[str, np.ndarray]


def random_parameters(abstract: Any, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: 0.1 * generator.standard_normal(leaf.shape, np.float32), abstract
    )


def vit_arrays(
    table: Sequence[Rule] = TIMM_VIT, settings: ModelSettings = SETTINGS, seed: int = 0
) -> Arrays:
    parameters = random_parameters(abstract_vit(settings)[1], seed)
    return to_source(parameters, table, settings.shape.heads)


def mae_arrays(
    table: Sequence[Rule] = FACEBOOK_MAE, settings: ModelSettings = SETTINGS, seed: int = 0
) -> Arrays:
    parameters = random_parameters(abstract_mae(settings)[1], seed)
    whole = {**parameters, **fixed_positions(settings)}
    return to_source(whole, table, settings.shape.heads)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """A file of the format that the path ends with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    else:
        safetensors.numpy.save_file(dict(arrays), path)
    return path


def convert(file: Path, output: Path, *flags: str) -> int:
    """Runs the script on a file; returns its exit code."""
    return convert_weights.main(["--input", str(file), "--output", str(output), *flags])


def converted(output: Path, arrays: Mapping[str, np.ndarray], *flags: str) -> Path:
    """The folder of a checkpoint that was converted from these arrays."""
    assert convert(write(output.with_suffix(".safetensors"), arrays), output, *flags) == 0
    return output


def beside(file: Path, **settings: Any):
    """Writes `NAME.json` beside a file for every name."""
    for name, said in settings.items():
        file.with_name(f"{name}.json").write_text(json.dumps(said))


def about(checkpoint: Path) -> dict[str, Any]:
    """What converted weights say of themselves."""
    return json.loads((checkpoint / "0" / "about" / "metadata").read_text())


class Trap:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)
