"""Face records as a data set of TensorFlow Datasets, in array_record shards, without TensorFlow.

A data set is the folder DIRECTORY/NAME/VERSION with TFDS's own files (`dataset_info.json`,
`features.json`, shards) and two more: `preparation.json` says how its faces were made, and
`index-SPLIT.csv` holds what is known of each record but its pixels, in the order of the shards.
Plain TFDS reads it: `tfds.builder_from_directory(FOLDER).as_data_source(SPLIT)`.
"""

import contextlib
import csv
import dataclasses
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from rffr_jax.data.readers.records import (
    INDEX_COLUMNS,
    PREPARATION,
    FaceRecord,
    index_name,
    landmarks_of_records,
    list_shards,
    parse_record,
    record_features,
)
from rffr_jax.errors import UserError
from rffr_jax.images.image_formats import IMAGE_FORMATS
from rffr_jax.runs.atomic_files import write_json

VERSION = "1.0.0"

_SHARD_BYTES = 128 * 2**20
_SHARD_NAME = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
# One record a group, for random access. Images do not shrink any more: uncompressed reads faster.
_WRITER_OPTIONS = "group_size:1,uncompressed"


def check_name(name: str, option: str = "data set name"):
    """Raises: UserError if TFDS would not take the name of a data set, which `option` gave."""
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise UserError(
            f"{option} {name!r}: write small letters, digits and underscores, a letter first"
        )


def write_dataset(
    directory: Path,
    name: str,
    records: Mapping[str, Callable[[], Iterator[FaceRecord]]],
    *,
    image_format: str,
    size: int,
    preparation: Mapping[str, Any],
) -> Path:
    """Writes a data set whole or not at all; replaces an earlier data set of records there.

    The same records give the same bytes. A split without records is left out.

    Args:
      directory: the folder of data sets.
      name: of the data set: small letters, digits and underscores.
      records: split -> makes its records, in the order that they get; each id once.
      image_format: of the records' images, one of `IMAGE_FORMATS`.
      size: height and width of the images, in pixels.
      preparation: what the faces were made with; goes into `preparation.json` with the image
        format and the size.

    Returns:
      The folder DIRECTORY/NAME/VERSION.

    Raises:
      UserError: the name is none that TFDS takes, the folder holds something else or cannot be
        written, or the disk is full.
      ValueError: an id occurs twice, or an image format that is unknown.
    """
    check_name(name)
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f"image format {image_format!r}; the formats are {IMAGE_FORMATS}")
    folder = directory / name / VERSION
    if folder.exists() and not (folder / PREPARATION).exists():
        raise UserError(f"{folder} holds something else than prepared records; name another place")
    unfinished = folder.with_name(f".{VERSION}.part")
    try:
        with _writing(folder):
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        features = record_features(image_format, size, landmarks_of_records(preparation))
        _write_splits(unfinished, name, records, features)
        with _writing(folder):
            sidecar = {**preparation, "image_format": image_format, "size": size}
            write_json(unfinished / PREPARATION, sidecar)
            _put_in_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def read_counts(folder: Path) -> dict[str, int]:
    """How many records the shards of each split hold, counted in the shards themselves."""
    return {
        split: len(ArrayRecordDataSource([file.filename for file in files]))
        for split, files in list_shards(folder).items()
    }


def read_ids(folder: Path, split: str) -> list[str]:
    """The ids of a split's records in their order, read from the shards; none if it has no split.

    Raises:
      OSError, RuntimeError: a shard is missing or damaged.
    """
    files = list_shards(folder).get(split)
    if not files:
        return []
    return [
        parse_record(record)["id"].bytes_list.value[0].decode()
        for record in ArrayRecordDataSource([file.filename for file in files])
    ]


def _write_splits(
    folder: Path,
    name: str,
    records: Mapping[str, Callable[[], Iterator[FaceRecord]]],
    features: tfds.features.FeaturesDict,
):
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=name,
            version=tfds.core.Version(VERSION),
            data_dir=str(folder),
            module_name=__name__,
        ),
        description=f"Aligned face crops; {PREPARATION} says how they were made.",
        features=features,
    )
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
    ids: set[str] = set()
    splits = []
    for split, make_records in records.items():
        written = _write_split(folder, name, split, _new_ids(make_records(), ids), features)
        if written.num_examples:
            splits.append(written)
    with _writing(folder):
        info.set_splits(tfds.core.SplitDict(splits))
        info.write_to_directory(folder)


def _new_ids(records: Iterator[FaceRecord], ids: set[str]) -> Iterator[FaceRecord]:
    """The same records. Their ids are added to `ids`, and each must be new."""
    for record in records:
        if record.id in ids:
            raise ValueError(f"the record {record.id!r} is there twice")
        ids.add(record.id)
        yield record


def _write_split(
    folder: Path, name: str, split: str, records: Iterator[FaceRecord], features: Any
) -> tfds.core.SplitInfo:
    """Writes the shards and the index of one split; nothing at all where no record comes."""
    template = tfds.core.ShardedFileTemplate(
        dataset_name=name,
        data_dir=tfds.core.Path(folder),
        split=split,
        filetype_suffix="array_record",
        template=_SHARD_NAME,
    )
    serializer = tfds.core.ExampleSerializer(features.get_serialized_info())
    paths: list[str] = []
    lengths: list[int] = []
    num_bytes = shard_bytes = 0
    shard = index = None
    with contextlib.ExitStack() as files:
        for record in records:
            data = _serialize(record, features, serializer)
            with _writing(folder):
                if index is None:
                    file = (folder / index_name(split)).open("w", newline="", encoding="utf-8")
                    index = csv.writer(files.enter_context(file))
                    index.writerow(INDEX_COLUMNS)
                if shard is None or shard_bytes >= _SHARD_BYTES:
                    if shard is not None:
                        shard.close()
                    path = template.sharded_filepath(shard_index=len(paths), num_shards=None)
                    shard = ArrayRecordWriter(str(path), _WRITER_OPTIONS)
                    paths.append(str(path))
                    lengths.append(0)
                    shard_bytes = 0
                shard.write(data)
                index.writerow([getattr(record, column) for column in INDEX_COLUMNS])
            lengths[-1] += 1
            shard_bytes += len(data)
            num_bytes += len(data)
        with _writing(folder):
            if shard is not None:
                shard.close()
            files.close()
            for path, length in zip(paths, lengths, strict=True):
                if len(ArrayRecordDataSource(path)) != length:
                    raise OSError(f"{path} does not hold the {length} records written to it")
    return tfds.core.SplitInfo(
        name=split, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
    )


def _serialize(record: FaceRecord, features: Any, serializer: tfds.core.ExampleSerializer) -> bytes:
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    if isinstance(features["image"], tfds.features.Tensor):  # raw
        side = math.isqrt(len(record.image) // 3)
        fields["image"] = np.frombuffer(record.image, np.uint8).reshape(side, side, 3)
    example = serializer.get_tf_example(features.encode_example(fields))
    return example.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _writing(folder: Path):
    """Names a fault of the disk to the user; array_record raises a RuntimeError for it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(f"{error}".split())
        raise UserError(
            f"records cannot be written to {folder.parent}: {reason}; make room or name a folder "
            "that can be written"
        ) from error


def _put_in_place(unfinished: Path, folder: Path):
    old = folder.with_name(f".{VERSION}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    unfinished.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
