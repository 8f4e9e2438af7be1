"""Prepared records as Parquet files that Hugging Face `datasets` reads, beside array_record."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from array_record.python.array_record_data_source import ArrayRecordDataSource

from rffr_jax import __version__
from rffr_jax.data.readers.parquet import HUGGING_FACE_KEY, PREPARATION_KEY
from rffr_jax.data.readers.records import PREPARATION, list_shards, parse_record
from rffr_jax.errors import UserError
from rffr_jax.images.image_formats import decode_crop, encode_crop
from rffr_jax.reports.templates import render

FOLDER = "parquet"
ROWS_OF_A_GROUP = 16  # what is read for one image
_TEXTS = ("id", "dataset", "method", "video", "source", "group", "person", "conversions",
          "original")  # fmt: skip
_FLOATS = ("box", "landmarks")


def check_pyarrow() -> None:
    """Raises: UserError where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError("--format parquet needs pyarrow; pip install 'rffr-jax[parquet]'") from None


def write_parquet(dataset: Path) -> Path:
    """Writes the records of DIR/NAME/VERSION to DIR/NAME/parquet, whole or not at all.

    There is one file `data/SPLIT-N-of-M.parquet` for each shard, with the records in their order,
    and the dataset card `README.md`. Raw images become PNG, other bytes stay as they are. What is
    there already is replaced.

    Args:
      dataset: the version folder of prepared records.

    Returns:
      The folder.

    Raises:
      UserError: the disk is full, or the folder cannot be written.
    """
    folder = dataset.with_name(FOLDER)
    unfinished = folder.with_name(f".{FOLDER}.part")
    preparation = json.loads((dataset / PREPARATION).read_bytes())
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / "data").mkdir(parents=True)
        counts = {}
        for split, shards in list_shards(dataset).items():
            paths = [shard.filename for shard in shards]
            for number, path in enumerate(paths):
                name = f"data/{split}-{number:05d}-of-{len(paths):05d}.parquet"
                _write_file(unfinished / name, path, preparation)
            counts[split] = len(ArrayRecordDataSource(paths))
        card = render(
            "dataset_card.md",
            name=dataset.parent.name,
            version=__version__,
            counts=counts,
            preparation=preparation,
        )
        (unfinished / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: {(error.strerror or str(error)).lower()}; make room, then start the same "
            "command again: the records are done"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_file(file: Path, shard: str, preparation: dict[str, Any]):
    import pyarrow
    from pyarrow import parquet

    floats = pyarrow.list_(pyarrow.float32())
    image = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    schema = pyarrow.schema(
        [
            ("image", image),
            ("label", pyarrow.int64()),
            ("frame", pyarrow.int64()),
            ("score", pyarrow.float32()),
            *((name, floats) for name in _FLOATS),
            *((name, pyarrow.string()) for name in _TEXTS),
        ],
        metadata={
            HUGGING_FACE_KEY: json.dumps({"info": {"features": _features()}}),
            PREPARATION_KEY: json.dumps(preparation),
        },
    )
    with parquet.ParquetWriter(file, schema, compression="none") as writer:
        rows = _rows(shard, preparation)
        while group := list(itertools.islice(rows, ROWS_OF_A_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _features() -> dict[str, Any]:
    """The types of the columns, as `datasets` writes them."""
    return {
        "image": {"_type": "Image"},
        "label": {"names": ["real", "fake"], "_type": "ClassLabel"},
        "frame": {"dtype": "int64", "_type": "Value"},
        "score": {"dtype": "float32", "_type": "Value"},
        **{
            name: {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
            for name in _FLOATS
        },
        **{name: {"dtype": "string", "_type": "Value"} for name in _TEXTS},
    }


def _rows(shard: str, preparation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    raw, size = preparation["image_format"] == "raw", preparation["size"]
    ending = "png" if raw else preparation["image_format"]
    for record in ArrayRecordDataSource(shard):
        features = parse_record(record)
        texts = {
            name: features[name].bytes_list.value[0].decode() if name in features else ""
            for name in _TEXTS
        }
        data = features["image"].bytes_list.value[0]
        if raw:
            data = encode_crop(decode_crop(data, "raw", size, texts["id"]), "png")
        yield {
            "image": {"bytes": data, "path": f"{texts['id']}.{ending}"},
            "label": features["label"].int64_list.value[0],
            "frame": features["frame"].int64_list.value[0],
            "score": features["score"].float_list.value[0],
            **{name: list(features[name].float_list.value) for name in _FLOATS},
            **texts,
        }
