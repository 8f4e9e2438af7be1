"""Folders of weights, and weights in several files with an index, as on Hugging Face's hub."""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from rffr_jax.errors import UserError

INDEX = ".index.json"
USUAL = ("model.safetensors", "pytorch_model.bin")


def find_weights(folder: pathlib.Path, endings: Sequence[str]) -> pathlib.Path:
    """The file of weights in a folder: an index of shards, one of the hub's names, or the only one.

    Raises:
      UserError: none there, or several.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    indices = [path for path in files if path.name.endswith(INDEX)]
    weights = [path for path in files if path.suffix in endings]
    usual = [folder / name for name in USUAL if folder / name in weights]
    found = indices or usual[:1] or weights
    if not found:
        raise UserError(
            f"{folder} holds no file of weights; known endings: {' '.join(endings)} {INDEX}"
        )
    if len(found) > 1:
        raise UserError(
            f"{folder} holds several files of weights; name one with --input: "
            f"{', '.join(path.name for path in found)}"
        )
    return found[0]


def refuse_shard(path: pathlib.Path):
    """Raises: UserError for a file that is one of several by its name."""
    shard = re.search(r"-\d{5}-of-(\d{5})$", path.stem)
    if shard and int(shard[1]) > 1:
        raise UserError(
            f"{path} is one of {int(shard[1])} shards; name their index "
            "(model.safetensors.index.json, pytorch_model.bin.index.json) or the folder"
        )


def read_index(path: pathlib.Path) -> dict[pathlib.Path, list[str]]:
    """The shards that an index names, and the names of the arrays in each.

    Raises:
      UserError: no index, or a shard that is not beside it.
    """
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        shards: dict[pathlib.Path, list[str]] = {}
        for name, file in places.items():
            shards.setdefault(path.with_name(file), []).append(name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no index of shards: it has no weight_map of names") from error
    if any(shard.name.endswith(INDEX) for shard in shards):
        raise UserError(f"{path} is no index of shards: it names an index where a shard should be")
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(
            f"{path} names {len(shards)} shards; missing beside it: {', '.join(missing)}"
        )
    return shards


def check_shards(
    path: pathlib.Path,
    named: Mapping[pathlib.Path, Sequence[str]],
    there: Mapping[pathlib.Path, Iterable[str]],
):
    """Raises: UserError if a shard holds other arrays than the index says."""
    for shard, names in named.items():
        odd = sorted(set(names) ^ set(there[shard]))
        if odd:
            raise UserError(
                f"{shard} is not the shard that {path.name} names: {len(odd)} of their names "
                f"differ, {odd[0]} for one; fetch both again"
            )
