"""The result of one medium in a file of its own, so that no medium is prepared twice.

The file holds a line of JSON (the findings and the size of each image), then the images one after
another.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from rffr_jax.data.readers.records import FaceRecord
from rffr_jax.runs.atomic_files import atomic_write


@dataclasses.dataclass(frozen=True)
class Drop:
    """A frame, or a whole medium, that gave no record.

    Attributes:
      frame: its number; None for the medium.
      reason: in the words of the report.
    """

    frame: int | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Part:
    """The result of preparing one medium.

    Attributes:
      medium: its id.
      stamp: digest of its input (`prepare.input_digest`), to tell if that has changed since.
      frames: how many frames were wanted.
      records: the faces found.
      drops: frames that were left out, and why.
      told_by: of several faces, what told which is taken: `manipulated_face.MASK`, `DIFFERENCE` or
        `LARGEST`; "all" where all are taken; empty where there is one face or none.
    """

    medium: str
    stamp: str
    frames: int
    records: tuple[FaceRecord, ...]
    drops: tuple[Drop, ...]
    told_by: str = ""


def write_part(path: pathlib.Path, part: Part):
    """Writes the file whole or not at all."""
    head = dataclasses.asdict(part)
    for record in head["records"]:
        record["image"] = len(record["image"])
    with atomic_write(path) as unfinished, unfinished.open("wb") as file:
        file.write(json.dumps(head, default=np.ndarray.tolist).encode() + b"\n")
        for record in part.records:
            file.write(record.image)


def read_part(path: pathlib.Path, *, images: bool = True) -> Part:
    """Reads a file that `write_part` wrote; without `images` their bytes are left empty.

    Raises:
      ValueError: it is damaged or cut off.
    """
    with path.open("rb") as file:
        head = json.loads(file.readline())
        there = path.stat().st_size - file.tell()
        if there != sum(record["image"] for record in head["records"]):
            raise ValueError(f"{path} is cut off")
        records = tuple(
            _from_json(record, file.read(record["image"]) if images else b"")
            for record in head["records"]
        )
    drops = tuple(Drop(**drop) for drop in head["drops"])
    return Part(**{**head, "records": records, "drops": drops})


def _from_json(fields: dict[str, Any], image: bytes) -> FaceRecord:
    arrays = {name: np.array(fields[name], np.float32) for name in ("box", "landmarks")}
    return FaceRecord(**{**fields, "image": image, **arrays})
