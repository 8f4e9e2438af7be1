"""Procedural data drawn to disk once, so that every run of a grid reads the same files fast."""

import dataclasses
import logging
import pathlib
import re
from collections.abc import Sequence

from rffr_jax.config import Config
from rffr_jax.data.export import export_dataset
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.selection import Selection
from rffr_jax.data.specs import as_tuple, load_dataset, parse_spec
from rffr_jax.errors import UserError
from rffr_jax.runs.atomic_files import read_json_object, write_json

log = logging.getLogger(__name__)


def with_data_on_disk(
    config: Config, folder: pathlib.Path, *, by_split: bool = False, draw: bool = True
) -> Config:
    """The config with its data handed to the inner jobs, procedural data drawn to files.

    A data set of seed 3 is called `synthetic:3`, so that two seeds are two data sets. Self-blended
    fakes and controls need landmarks, which files of procedural faces lack: rows that make them
    draw their training data as they go, and columns of controls their test data.

    Args:
      folder: where tables and images lie; what is there is not drawn again. NAME.json beside a
        table says what it was drawn from.
      by_split: name tables `train`, `validation` and `test` (the second of a split `test_2`), in
        a folder that only this config has; otherwise after their specs.
      draw: False leaves the specs of data that are not there yet.

    Raises:
      UserError: a table is there that was drawn from another spec, or at another size.
    """
    config = config.copy_and_resolve_references()
    size = config.detect.model.image_size
    of_split: dict[str, list[str]] = {}

    def on_disk(specs: str | Sequence[str], split: str) -> tuple[str, ...]:
        return tuple(
            one(spec, split)
            if spec.startswith(f"{PROCEDURAL}:") and not parse_spec(spec).controls
            else spec
            for spec in as_tuple(specs)
        )

    def one(spec: str, split: str) -> str:
        if not parse_spec(spec).split:
            address, mark, query = spec.partition("?")
            spec = f"{address}#{split}{mark}{query}"
        name = f"{re.sub(r'[^A-Za-z0-9]+', '_', spec).strip('_')}_{size}px"
        if by_split:
            there = of_split.setdefault(str(parse_spec(spec).split), [])
            there += [spec] if spec not in there else []
            number = there.index(spec)
            name = f"{parse_spec(spec).split}" + (f"_{number + 1}" if number else "")
        _refuse_other_drawing(spec, folder / f"{name}.csv", size)
        if draw:
            _draw(spec, folder / f"{name}.csv", size)
        elif not (folder / f"{name}.csv").exists():
            return spec
        return f"csv:{folder / name}.csv"

    config.pretrain.data.train = on_disk(config.data.pretrain, "train")
    config.pretrain.data.validation = on_disk(config.data.pretrain_validation, "validation")
    config.detect.data.train = on_disk(config.data.train, "train")
    config.detect.data.validation = on_disk(config.data.validation, "validation")
    config.data.chosen_on = on_disk(config.data.chosen_on, "validation")
    for overrides in (
        *config.autoencoders.values(),
        *config.trained_on.values(),
        *(row.detect for row in config.rows.values()),
    ):
        data = overrides.get("data", {})
        for name, split in (("train", "train"), ("validation", "validation")):
            if name in data and data.get("fakes", "given") == "given":
                data[name] = on_disk(data[name], split)
    for column in config.columns.values():
        column.test = on_disk(column.test, "test")
    return config


def _refuse_other_drawing(spec: str, table: pathlib.Path, size: int):
    about = table.with_suffix(".json")
    if table.exists() and about.exists() and read_json_object(about) != _drawn_from(spec, size):
        there = read_json_object(about)
        raise UserError(
            f"{table} was drawn from {there.get('spec')} at {there.get('size')} px, and now "
            f"{spec} at {size} px is asked for; name another --workdir, or delete {table.parent} "
            "and what was trained on it"
        )


def _drawn_from(spec: str, size: int) -> dict[str, str | int]:
    return {"spec": spec, "size": size}


def _draw(spec: str, table: pathlib.Path, size: int):
    if table.exists():
        return
    log.info("drawing %s into %s", spec, table)
    table.parent.mkdir(parents=True, exist_ok=True)
    write_json(table.with_suffix(".json"), _drawn_from(spec, size))
    dataset, name = load_dataset(spec), f"{PROCEDURAL}:{parse_spec(spec).path}"
    examples = tuple(dataclasses.replace(example, dataset=name) for example in dataset.examples)
    places = tuple((0, index) for index in range(len(examples)))
    export_dataset(Selection(examples, (dataset,), places), table, size)
