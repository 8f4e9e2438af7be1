"""The key of a run: a digest of every setting and of all data that shape its result."""

import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rffr_jax.config import Config, flat, local_path
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.specs import as_tuple, load_unfiltered
from rffr_jax.examples import Example
from rffr_jax.rivals import VIT
from rffr_jax.runs import workdir
from rffr_jax.runs.model_names import is_portable

WITHOUT_EFFECT = (*workdir.WITHOUT_EFFECT, "detector")  # a folder, which the run is in
"""Entries that leave the result as it is; by them two runs are still the same one."""

CONDITIONAL: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "unet": lambda entries: entries.get("autoencoder") == "unet",
    "rival": lambda entries: entries.get("detector.backbone") != VIT,
    "backbone": lambda entries: bool(entries.get("backbone.weights")),
    "optimizer.backbone_learning_rate": lambda entries: bool(
        entries.get("backbone.weights") and entries.get("optimizer.backbone_learning_rate")
    ),
    "detector.train": lambda entries: bool(entries.get("backbone.weights")),
    "optimizer.halve_every": lambda entries: entries.get("optimizer.halve_every") != 0,
}
"""Sections and entries, and whether they are read, by the other entries."""

DATA_SPLITS = {
    "data.train": "train",
    "data.validation": "validation",
    "data.tests": "test",
    "data.inputs": "test",
}
"""Entries that name data, with the split that is meant where they name none."""

WEIGHTS = ("mae", "init_from", "detector.init", "backbone.weights")
"""Entries that name the folder of a model."""


def read_entries(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a run, by dotted names, without those that another makes unread."""
    unread = {name for name, is_read in CONDITIONAL.items() if not is_read(entries)}
    return {k: v for k, v in entries.items() if not unread & {k, k.partition(".")[0]}}


class RunKeys:
    """Digests of configs with their data.

    The data are read once: what is known of every image, and sizes and times of their files. So
    are the files of models. Data that this program draws are known by their spec, and models that
    have one name everywhere by that.

    Args:
      shared: the folder that all runs share; where it lies changes nothing.
      drawn: where the data lie that this program drew.
    """

    def __init__(self, shared: pathlib.Path, drawn: pathlib.Path):
        self._shared, self._drawn = shared, drawn
        self._data: dict[tuple[str, str], str] = {}

    def of(self, config: Config, models: Mapping[str, str] = MappingProxyType({})) -> str:
        """Ten letters that stand for every entry that shapes the result, data and models.

        Args:
          models: by `WEIGHTS`, names of those that the same experiment trains: they may be yet to
            be made, and their folders say nothing of what they are.
        """
        entries: dict[str, Any] = flat(json.loads(json.dumps(config.to_dict())))
        entries = {k: v for k, v in read_entries(entries).items() if k not in WITHOUT_EFFECT}
        entries |= models
        for name in WEIGHTS:
            model = entries.get(name)
            if model and name not in models and not is_portable(model):
                entries[f"files of {name}"] = _files_of_model(local_path(model, name))
        for name, split in DATA_SPLITS.items():
            given = [spec for spec in as_tuple(entries.get(name, ())) if not self._is_drawn(spec)]
            if given:
                entries[f"files of {name}"] = [self._digest_of_data(spec, split) for spec in given]
        text = json.dumps(entries, sort_keys=True).replace(f"{self._shared}/", "")
        return _digest(text)

    def _is_drawn(self, spec: str) -> bool:
        return spec.startswith((f"{PROCEDURAL}:", f"csv:{self._drawn}/"))

    def _digest_of_data(self, spec: str, split: str) -> str:
        if (spec, split) not in self._data:
            examples = load_unfiltered(spec, split).examples
            facts = [
                (os.path.basename(e.path), *_about(e), _size_and_time(_file_of(e.path)))
                for e in examples
            ]
            folders = sorted({e.path.partition("#")[0] for e in examples if "#" in e.path})
            facts += [_files_of_records(pathlib.Path(folder)) for folder in folders]
            self._data[spec, split] = _digest(json.dumps(facts))
        return self._data[spec, split]


def _about(example: Example) -> tuple[str | int, ...]:
    e = example
    return e.label, e.dataset, e.method, e.video, e.frame, e.source, e.group


def _file_of(path: str) -> str:
    """The file of an image: itself, or the FILE of FILE/ID, which holds many."""
    try:
        there = os.path.exists(path)
    except ValueError:
        return path
    parent = os.path.dirname(path)
    return path if there or parent in ("", path) else _file_of(parent)


def _files_of_records(folder: pathlib.Path) -> list[tuple[str, list[int]]]:
    """The files of a folder of prepared records, whose examples have no files of their own."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [(file.name, _size_and_time(file)) for file in files]


def _files_of_model(folder: pathlib.Path) -> list[tuple[str, list[int]]]:
    """The files of a model folder, or those of a workdir's checkpoints."""
    checkpoints = folder / "checkpoints"
    root = checkpoints if checkpoints.is_dir() else folder
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return [(file.relative_to(root).as_posix(), _size_and_time(file)) for file in files]


def _size_and_time(path: str | pathlib.Path) -> list[int]:
    """Bytes of a file, and seconds since 1970 of its last change; nothing where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return []
    return [found.st_size, int(found.st_mtime)] if stat.S_ISREG(found.st_mode) else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
