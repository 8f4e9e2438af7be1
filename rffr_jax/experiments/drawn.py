"""Procedural data drawn to disk once, so that every run of a grid reads the same files fast."""

import dataclasses
import logging
import pathlib
import re
from collections.abc import Sequence

from rffr_jax.data.export import export
from rffr_jax.data.origins import PROCEDURAL
from rffr_jax.data.selection import Selection
from rffr_jax.data.specs import load_dataset, parse_spec

log = logging.getLogger(__name__)


def drawn(
    specs: Sequence[str], folder: pathlib.Path, size: int, default_split: str
) -> tuple[str, ...]:
    """The same data as files: `csv:TABLE` in place of every spec of procedural data.

    A data set of seed 3 is called `synthetic:3`, so that two seeds are two data sets.

    Args:
      folder: where tables and images lie; what is there is not drawn again.
      size: side of the images in pixels.
      default_split: the split where a spec names none.
    """
    return tuple(
        _drawn(spec, folder, size, default_split) if spec.startswith(f"{PROCEDURAL}:") else spec
        for spec in specs
    )


def _drawn(text: str, folder: pathlib.Path, size: int, default_split: str) -> str:
    spec = parse_spec(text)
    address, _, query = text.partition("?")
    if not spec.split:
        address += f"#{default_split}"
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{address}_{query}").strip("_")
    table = folder / f"{name}_{size}px.csv"
    if not table.exists():
        log.info("drawing %s into %s", text, table)
        dataset = load_dataset(text, default_split=default_split)
        examples = tuple(
            dataclasses.replace(example, dataset=f"{PROCEDURAL}:{spec.path}")
            for example in dataset.examples
        )
        places = tuple((0, index) for index in range(len(examples)))
        export(Selection(examples, (dataset,), places), table, size)
    return f"csv:{table}"
