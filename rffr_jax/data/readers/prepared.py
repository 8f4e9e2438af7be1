"""Prepared records (`tfds:DIR/NAME[/VERSION]#split`): a `Dataset` in array_record shards."""

import csv
import itertools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from jaxtyping import Float32, UInt8

from rffr_jax.data.readers.landmark_order import find_landmark_problem
from rffr_jax.data.readers.records import (
    INDEX_COLUMNS,
    KNOWN_INDEX_COLUMNS,
    LANDMARKS_KEY,
    PREPARATION,
    index_name,
    landmarks_of_records,
    list_shards,
    parse_record,
)
from rffr_jax.data.selection import Selection
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Dataset, Example
from rffr_jax.images.image_formats import decode_crop
from rffr_jax.images.landmarks import LandmarkedFace

# How many frames were taken, by which program they were decoded, and what found 68 landmarks, makes
# no other crops.
_HARMLESS = ("frames", "decoder", LANDMARKS_KEY)


class PreparedDataset:
    """A `Dataset` whose examples are the records of one split, in their order.

    Attributes:
      examples: from the split's index; a path is FOLDER#SPLIT/ID.
      preparations: what the faces were made with, in a tuple of one.
    """

    def __init__(self, folder: Path, split: str):
        """
        Args:
          folder: the version folder of a data set of records.
          split: one that it has.

        Raises:
          UserError: there is no such split, or the folder's files do not belong together.
        """
        shards = _find_shards(folder)
        if split not in shards:
            raise UserError(
                f"{folder} has no split '{split}'; it has {', '.join(shards) or 'no records'}"
            )
        preparation: dict[str, Any] = json.loads((folder / PREPARATION).read_bytes())
        self.preparations = (preparation,)
        self.examples = _read_index(folder, split)
        count = sum(file.examples_in_shard for file in shards[split])
        if len(self.examples) != count:
            raise UserError(
                f"{folder / index_name(split)} names {len(self.examples)} records and the shards "
                f"hold {count}; prepare the data set again"
            )
        self._image_format: str = preparation["image_format"]
        self._size: int = preparation["size"]
        self._landmarks = landmarks_of_records(preparation)
        # Opens the shards when they are first read, and again in every process.
        self._records = ArrayRecordDataSource(shards[split])

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB pixels of record `index`, in [0, 255]; read-only where they are stored raw.

        Raises:
          BadImageError: the record or its shard is missing or damaged.
        """
        image, _ = self._read(index)
        return decode_crop(image, self._image_format, size, self.examples[index].path)

    def landmark_count(self, index: int) -> int:
        """The five that the face detector found, or 68 of a model."""
        return self._landmarks

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The crop of record `index` at the size it was cut out at.

        Raises:
          BadImageError: as for `load`, or its landmarks can be no face's.
        """
        image, landmarks = self._read(index)
        path = self.examples[index].path
        if problem := find_landmark_problem(landmarks, (self._size, self._size)):
            raise BadImageError(path, f"landmarks: {problem}")
        return LandmarkedFace(decode_crop(image, self._image_format, self._size, path), landmarks)

    def _read(self, index: int) -> tuple[bytes, Float32[np.ndarray, "points 2"]]:
        """The encoded image of a record, and its landmarks in pixels of the crop."""
        example = self.examples[index]
        try:
            features = parse_record(self._records[index])
            found = features["id"].bytes_list.value[0].decode()
            image = features["image"].bytes_list.value[0]
            landmarks = np.array(features["landmarks"].float_list.value, np.float32)
            landmarks = landmarks.reshape(self._landmarks, 2)
        except Exception as error:  # array_record and protobuf have many
            reason = " ".join(f"{error}".split())
            raise BadImageError(example.path, f"damaged or missing record ({reason})") from None
        if found != example.id:
            raise BadImageError(example.path, f"the record there is {found}")
        return image, landmarks


def read_prepared(path: Path, split: str) -> PreparedDataset:
    """Opens DIR/NAME/VERSION, or the newest version in DIR/NAME.

    Raises:
      UserError: there are no prepared records, or no such split.
    """
    if not path.is_dir():
        raise UserError(f"tfds:{path}: no such folder; name DIR/NAME of prepared records")
    folder = newest_version(path)
    if not (folder / PREPARATION).is_file():
        raise UserError(
            f"tfds:{path}: no prepared records there (no {PREPARATION} in {folder}); "
            "scripts/prepare_faces.py makes them"
        )
    return PreparedDataset(folder, split)


def newest_version(path: Path) -> Path:
    """The newest DIR/NAME/VERSION in the folder DIR/NAME; the folder itself where it has none."""
    versions = [child for child in path.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", child.name)]
    return max(versions, key=lambda one: [int(n) for n in one.name.split(".")], default=path)


def collect_preparations(dataset: Dataset) -> list[dict[str, Any]]:
    """What the faces of prepared records were made with, each way once; other data say nothing."""
    if not isinstance(dataset, Selection):
        return [dict(preparation) for preparation in getattr(dataset, "preparations", ())]
    found: list[dict[str, Any]] = []
    for preparation in itertools.chain.from_iterable(map(collect_preparations, dataset.parts)):
        if preparation not in found:
            found.append(preparation)
    return found


def compare_preparations(preparations: Sequence[Mapping[str, Any]]) -> list[str]:
    """How faces were prepared differently in ways that move an AUC, such as "scale: 1.3, 1.6".

    The number of frames and the decoder's version do not count; a compression counts where a data
    set has several.

    Args:
      preparations: as `collect_preparations` gives them.
    """
    names = sorted({name for preparation in preparations for name in preparation})
    differing = []
    for name in names:
        if name in _HARMLESS:
            continue
        values = [preparation.get(name) for preparation in preparations]
        if name == "compression":
            values = [value for value in values if value]
        distinct = list(dict.fromkeys(map(_text, values)))
        if len(distinct) > 1:
            differing.append(f"{name}: {', '.join(map(_shorten, distinct))}")
    return differing


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _shorten(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}..."


def _find_shards(folder: Path) -> dict[str, list[Any]]:
    try:
        shards = list_shards(folder)
    except Exception as error:  # TFDS has many for files that are not as they should be
        reason = " ".join(f"{error}".split())
        raise UserError(f"{folder} cannot be read as a data set of TFDS: {reason}") from error
    for file in itertools.chain.from_iterable(shards.values()):
        if not Path(file.filename).is_file():
            raise UserError(f"{file.filename} is missing; copy the whole folder, or prepare again")
    return shards


def _read_index(folder: Path, split: str) -> tuple[Example, ...]:
    path = folder / index_name(split)
    prefix = f"{folder}#{split}/"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header not in KNOWN_INDEX_COLUMNS:
                raise UserError(f"{path} is no index of records; prepare the data set again")
            absent = [""] * (len(INDEX_COLUMNS) - len(header))
            return tuple(_make_example(row + absent, prefix) for row in rows)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{path}: {reason}; copy the whole folder, or prepare again") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}); prepare the data set again") from None


def _make_example(row: list[str], prefix: str) -> Example:
    identity, label, dataset, method, video, frame, *rest = row
    dataset, method, video, *rest = map(sys.intern, (dataset, method, video, *rest))
    source, group, original = rest
    return Example(
        identity, prefix + identity, int(label), dataset, method, video, int(frame), source, group,
        original,
    )  # fmt: skip
