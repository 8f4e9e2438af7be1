"""Images that lie inside a few large files: what `parquet:` and `tar:` have in common."""

import dataclasses
import glob
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.data.readers.landmark_order import find_landmark_problem
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.images.decode import decode_full_image, decode_image
from rffr_jax.images.landmarks import ALL, FIVE, LandmarkedFace, crop_centred_square

TEXTS = ("dataset", "method", "video", "source", "group", "original")
"""What is known of an image, besides its label and the number of its frame."""
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class PackedDataset:
    """A `Dataset` whose images lie in a few large files.

    Attributes:
      examples: a path is FILE/ID.
      read: gives the encoded image of an index, or raises BadImageError; picklable.
      preparations: what the faces were made with, each way once, where the files say it.
      landmarks: of each image the 68 or five points in its pixels, None where they are not known;
        () where no image has any.
    """

    examples: tuple[Example, ...]
    read: Callable[[int], bytes]
    preparations: tuple[Mapping[str, Any], ...] = ()
    landmarks: tuple[Float32[np.ndarray, "_ 2"] | None, ...] = ()

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB pixels of image `index`, in [0, 255].

        Raises:
          BadImageError: its bytes are missing, damaged or no usable image.
        """
        return decode_image(self.read(index), size, self.examples[index].path)

    def landmark_count(self, index: int) -> int:
        """68, 5, or 0 where the points are not known."""
        points = self._points(index)
        return 0 if points is None else len(points)

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The largest centred square of image `index`, whose landmarks are known, at its own size.

        Raises:
          BadImageError: as for `load`, or the image is turned by its EXIF data, or the landmarks
            are not those of a face in it.
        """
        path, points = self.examples[index].path, self._points(index)
        assert points is not None
        image = decode_full_image(self.read(index), path, turn=False)
        height, width, _ = image.shape
        if problem := find_landmark_problem(points, (width, height)):
            raise BadImageError(path, f"landmarks: {problem}")
        return crop_centred_square(image, points)

    def _points(self, index: int) -> np.ndarray | None:
        return self.landmarks[index] if self.landmarks else None


def find_files(where: str, path: Path, ending: str, split: str, asked: bool) -> list[Path]:
    """The files that a spec names, sorted.

    Args:
      where: the spec's kind and path, for messages.
      path: a file, a pattern with `*`, or a folder. The files of a folder, or of `data/` in it,
        that begin with `train-`, `validation-` or `test-` belong to these splits.
      ending: of the files in a folder, such as ".tar".
      split: of a folder.
      asked: whether the user named the split.

    Raises:
      UserError: there is no such file or split.
    """
    if not path.is_dir():
        files = sorted(map(Path, glob.glob(str(path)))) if "*" in str(path) else [path]
        if asked:
            raise UserError(f"{where}: only a folder has splits; leave out '#{split}'")
        if not files or not files[0].is_file():
            raise UserError(f"{where}: no such file; name a file, a pattern with * or a folder")
        return files
    there = sorted(path.glob(f"*{ending}")) or sorted(path.glob(f"data/*{ending}"))
    chosen = [file for file in there if file.name.startswith(f"{split}-")]
    if chosen:
        return chosen
    splits = sorted({file.name.partition("-")[0] for file in there} & set(_SPLITS))
    if asked or splits:
        raise UserError(f"{where} has no split '{split}'; it has {', '.join(splits) or 'none'}")
    if not there:
        raise UserError(f"{where}: no file there ends in {ending}; name a folder that has some")
    return there


def parse_landmarks(place: str, value: Any) -> Float32[np.ndarray, "points 2"] | None:
    """The points of one image.

    Args:
      place: of the image, for messages.
      value: x and y in turn, or pairs of them; None or nothing where they are not known.

    Raises:
      UserError: it is not 68 or five points.
    """
    if value is None or value == "" or value == []:
        return None
    try:
        numbers = np.array(value, np.float32)
    except (OverflowError, TypeError, ValueError):
        numbers = np.zeros(0, np.float32)
    if numbers.size not in (2 * FIVE, 2 * ALL):
        raise UserError(
            f"{place}: landmarks are not x and y of {ALL} or {FIVE} points; correct or empty them"
        )
    return numbers.reshape(-1, 2)


def parse_label(value: Any) -> int | None:
    """0 or real, 1 or fake, in any case, as a label; None for anything else."""
    return {"0": REAL, "real": REAL, "1": FAKE, "fake": FAKE}.get(str(value).lower())


def make_example(
    place: str, identity: str, path: str, values: Mapping[str, Any], dataset: str
) -> Example:
    """The example of one image.

    Args:
      place: of the image, for messages.
      identity: its id.
      path: where it lies.
      values: `label`, and maybe `frame` and those of `TEXTS`; absent ones, None and "" mean what
        they mean in a table (`table.read_csv`).
      dataset: the name of the data set where `values` has none.

    Raises:
      UserError: the label is none, goes with another method, or the frame is no number.
    """
    label = parse_label(values.get("label"))
    if label is None:
        raise UserError(
            f"{place}: label {values.get('label')!r}; it must be 0 or real, or 1 or fake"
        )
    texts = {name: str(values[name]) for name in TEXTS if values.get(name) not in (None, "")}
    method = texts.get("method") or ("real" if label == REAL else "fake")
    if (method == "real") != (label == REAL):
        raise UserError(f"{place}: label {values['label']!r} with method '{method}'; correct one")
    frame = values.get("frame") or 0
    if not str(frame).isdecimal():
        raise UserError(f"{place}: frame {frame!r}; it must be a whole number from 0 up")
    video = texts.get("video", identity)
    defaults = {"dataset": dataset, "video": video, "source": video}
    return Example(
        id=identity,
        path=path,
        label=label,
        frame=int(frame),
        **{**defaults, **texts, "method": method},
    )
