"""Parquet files of images (`parquet:FILES`), as Hugging Face `datasets` keeps them."""

import bisect
import itertools
import json
import threading
from pathlib import Path
from typing import Any

from rffr_jax.data.readers.folder import default_dataset_name
from rffr_jax.data.readers.packed import (
    TEXTS,
    PackedDataset,
    find_files,
    make_example,
    parse_landmarks,
)
from rffr_jax.errors import BadImageError, UserError

PREPARATION_KEY = b"preparation"
"""Of a file's metadata: what its faces were made with, as JSON."""
HUGGING_FACE_KEY = b"huggingface"
"""Of a file's metadata: the types of its columns, as JSON."""
COLUMNS = ("image", "label")
_LANDMARKS = "landmarks"
_KNOWN = ("id", "frame", *TEXTS, _LANDMARKS)


class ParquetImages:
    """The column `image` of Parquet files, read one group of rows at a time."""

    def __init__(self, files: list[Path], groups: list[list[int]]):
        """
        Args:
          files: the Parquet files.
          groups: of each file the numbers of rows in its groups.
        """
        self._files, self._groups = files, groups
        self._begins = [0, *itertools.accumulate(sum(rows) for rows in groups)]
        self._opened = threading.local()  # files and the last group of each thread

    def __reduce__(self):
        return ParquetImages, (self._files, self._groups)

    def read(self, index: int) -> bytes:
        """The bytes of image `index`.

        Raises:
          BadImageError: the file is gone or damaged, or the row has no bytes.
        """
        number = bisect.bisect_right(self._begins, index) - 1
        row, group = index - self._begins[number], 0
        while row >= self._groups[number][group]:
            row -= self._groups[number][group]
            group += 1
        file = self._files[number]
        name = f"{file}#{index - self._begins[number]}"
        try:
            image = self._read_group(number, group)[row].as_py()
        except Exception as error:  # pyarrow has many
            reason = " ".join(f"{error}".split())
            raise BadImageError(name, f"damaged or missing ({reason})") from None
        data = image.get("bytes") if isinstance(image, dict) else image
        if not data:
            raise BadImageError(name, "the row holds no bytes of an image")
        return data

    def _read_group(self, number: int, group: int) -> Any:
        from pyarrow import parquet

        opened = self._opened.__dict__
        if opened.get("place") != (number, group):
            if opened.get("number") != number:
                opened["file"], opened["number"] = parquet.ParquetFile(self._files[number]), number
            table = opened["file"].read_row_group(group, columns=["image"])
            opened["images"], opened["place"] = table.column("image"), (number, group)
        return opened["images"]


def read_parquet(path: Path, split: str, *, asked: bool) -> PackedDataset:
    """Reads all columns but the images.

    A file has the columns `image` (bytes, or the struct of bytes and path that `datasets` writes)
    and `label`, and maybe `id`, `frame`, `dataset`, `method`, `video`, `source` and `group`, which
    mean what they mean in a table, and `landmarks`, a list of numbers. Other columns are not read.
    Labels are 0 or real, 1 or fake; where the file names its classes, these say what a number
    means.

    Args:
      path: a file, a pattern with `*`, or a folder of such files.
      split: of a folder.
      asked: whether the user named the split.

    Raises:
      UserError: no such file; one that is no Parquet, is cut off or has other columns; a label that
        is none, or an id that is there twice.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"parquet:{path} needs pyarrow; pip install 'rffr-jax[parquet]'") from None
    files = find_files(f"parquet:{path}", path, ".parquet", split, asked)
    dataset = default_dataset_name(path)
    examples, groups, landmarks, places = [], [], [], {}
    preparations: list[Any] = []
    for file in files:
        where = f"parquet:{file}"
        try:
            with parquet.ParquetFile(file) as opened:
                names, metadata = opened.schema_arrow.names, opened.schema_arrow.metadata or {}
                _check_columns(where, opened.schema_arrow)
                table = opened.read([n for n in names if n in ("label", *_KNOWN)])
                about = opened.metadata
                groups.append([about.row_group(i).num_rows for i in range(about.num_row_groups)])
        except (ArrowException, OSError) as error:
            reason = " ".join(f"{error}".split())
            raise UserError(f"{where}: no whole Parquet file ({reason}); fetch it again") from None
        preparation = _read_json(where, metadata, PREPARATION_KEY)
        if preparation and preparation not in preparations:
            preparations.append(preparation)
        classes = _class_names(where, metadata)
        points = table.column(_LANDMARKS) if _LANDMARKS in table.column_names else None
        columns = table.select([n for n in table.column_names if n != _LANDMARKS]).to_pydict()
        for row in range(sum(groups[-1])):
            values = {name: column[row] for name, column in columns.items()}
            if classes and isinstance(values["label"], int) and 0 <= values["label"] < 2:
                values["label"] = classes[values["label"]]
            identity = str(values.get("id") or f"{file.stem}/{row:06d}")
            place = f"{where}: row {row + 1}"
            if identity in places:
                raise UserError(f"{place}: {identity} is there before, at {places[identity]}")
            places[identity] = place
            examples.append(make_example(place, identity, f"{file}/{identity}", values, dataset))
            landmarks.append(
                parse_landmarks(place, points[row].as_py() if points is not None else None)
            )
    if not examples:
        raise UserError(f"parquet:{path}: no rows in it; name files with images")
    known = any(points is not None for points in landmarks)
    return PackedDataset(
        tuple(examples),
        ParquetImages(files, groups).read,
        tuple(preparations),
        tuple(landmarks) if known else (),
    )


def _check_columns(where: str, schema: Any):
    from pyarrow import types

    for name in COLUMNS:
        if name not in schema.names:
            raise UserError(
                f"{where}: no column '{name}' among {', '.join(schema.names)}; it needs "
                f"{', '.join(COLUMNS)}[,{','.join(_KNOWN)}]"
            )
    kind = schema.field("image").type
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not any(is_it(kind) for is_it in (types.is_binary, types.is_large_binary, types.is_null)):
        raise UserError(
            f"{where}: its column 'image' holds {kind}; it must hold the bytes of image files"
        )


def _read_json(where: str, metadata: dict[bytes, bytes], key: bytes) -> dict[str, Any] | None:
    """The JSON object under a key of the metadata; None where there is none."""
    if key not in metadata:
        return None
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError):
        value = key
    if value is not None and not isinstance(value, dict):
        raise UserError(
            f"{where}: its metadata '{key.decode()}' is no JSON object; write the file again, or "
            "without it"
        )
    return value


def _class_names(where: str, metadata: dict[bytes, bytes]) -> list[str]:
    """What the numbers of the column `label` are called; [] where the file does not say."""
    described: Any = _read_json(where, metadata, HUGGING_FACE_KEY)
    for name in ("info", "features", "label", "names"):
        described = described.get(name) if isinstance(described, dict) else None
    names = list(map(str, described)) if isinstance(described, list) else []
    if names and sorted(name.lower() for name in names) not in (["fake", "real"], ["0", "1"]):
        raise UserError(
            f"{where}: its labels are called {', '.join(names)}; they must be real and fake"
        )
    return names
