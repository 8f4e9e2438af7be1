"""Images that lie inside a few large files: what `parquet:` and `tar:` have in common."""

import dataclasses
import glob
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.images.decode import decode_image

TEXTS = ("dataset", "method", "video", "source", "group", "original")
"""What is known of an image, besides its label and the number of its frame."""
_LABELS = {"0": REAL, "real": REAL, "1": FAKE, "fake": FAKE}
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class PackedDataset:
    """A `Dataset` whose images lie in a few large files.

    Attributes:
      examples: a path is FILE/ID.
      read: gives the encoded image of an index, or raises BadImageError; picklable.
      preparation: what the faces were made with, where the files say it.
    """

    examples: tuple[Example, ...]
    read: Callable[[int], bytes]
    preparation: Mapping[str, Any] | None = None

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB pixels of image `index`, in [0, 255].

        Raises:
          BadImageError: its bytes are missing, damaged or no usable image.
        """
        return decode_image(self.read(index), size, self.examples[index].path)


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
    label = _LABELS.get(str(values.get("label")).lower())
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
