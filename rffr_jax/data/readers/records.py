"""The schema of prepared records: what is kept of a face, and under which names.

`faces.shards` writes data sets of this schema, `prepared` reads them.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32
from tensorflow_datasets.proto import tf_example_pb2

from rffr_jax.images.landmarks import ALL, FIVE

PREPARATION = "preparation.json"
LANDMARKS_KEY = "landmarks_sha256"
"""In the preparation: the model that found 68 landmarks; null or absent where there are five."""
_FIRST_COLUMNS = ("id", "label", "dataset", "method", "video", "frame", "source", "group")
INDEX_COLUMNS = (*_FIRST_COLUMNS, "original")
KNOWN_INDEX_COLUMNS = (INDEX_COLUMNS, _FIRST_COLUMNS)
"""Of today's records and of earlier ones, which do not say how their originals were saved."""

_EXAMPLE: Any = vars(tf_example_pb2)["Example"]  # generated, so that type checkers do not see it


@dataclasses.dataclass(frozen=True)
class FaceRecord:
    """One aligned crop as it goes into a shard.

    Attributes:
      id: `MEDIUM_ID/FRAME` with the frame as six digits; unique in its data set.
      image: the crop, encoded as the data set's image format says (PNG or JPEG bytes, or the bytes
        of height x width x 3 uint8 where the format is raw).
      label, dataset, method, source, group, person: as in `media.Medium`.
      video: the medium's id.
      frame: number of the frame in its video, 0 for photographs.
      box: left, top, right, bottom of the face in pixels of the decoded frame.
      landmarks: the five points, or 68, in pixels of the CROP (not rounded).
      score: of the detector, in [0, 1].
      conversions: what was done to the decoded pixels, with "; " between; empty if nothing.
      original: how the medium's file was saved (`images.file_header`); empty where it is not known.
    """

    id: str
    image: bytes
    label: int
    dataset: str
    method: str
    video: str
    frame: int
    source: str
    group: str
    person: str
    box: Float32[np.ndarray, "4"]
    landmarks: Float32[np.ndarray, "points 2"]
    score: float
    conversions: str = ""
    original: str = ""


def index_name(split: str) -> str:
    """Name of a split's index in the data set's folder."""
    return f"index-{split}.csv"


def landmarks_of_records(preparation: Mapping[str, Any]) -> int:
    """How many landmarks each record has that was prepared in this way."""
    return ALL if preparation.get(LANDMARKS_KEY) else FIVE


def record_features(image_format: str, size: int, landmarks: int) -> tfds.features.FeaturesDict:
    """The features of a record, as TFDS writes them.

    Args:
      image_format: of the images, one of `image_formats.IMAGE_FORMATS`.
      size: height and width of the images, in pixels.
      landmarks: how many points each record has.
    """
    shape = (size, size, 3)
    if image_format == "raw":
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
    else:
        image = tfds.features.Image(shape=shape, encoding_format=image_format)
    text = ("id", "dataset", "method", "video", "source", "group", "person", "conversions",
            "original")  # fmt: skip
    return tfds.features.FeaturesDict(
        {
            "image": image,
            "label": tfds.features.ClassLabel(names=["real", "fake"]),
            "frame": np.int64,
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "landmarks": tfds.features.Tensor(shape=(landmarks, 2), dtype=np.float32),
            "score": np.float32,
            **{name: tfds.features.Text() for name in text},
        }
    )


def list_shards(folder: Path) -> dict[str, list[Any]]:
    """The shards of each split, as TFDS's file instructions."""
    splits = tfds.builder_from_directory(folder).info.splits
    return {str(name): split.file_instructions for name, split in splits.items()}


def parse_record(record: bytes) -> Mapping[str, Any]:
    """The features of a record by name, not decoded."""
    return _EXAMPLE.FromString(record).features.feature
