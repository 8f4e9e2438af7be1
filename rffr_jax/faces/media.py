"""A benchmark: videos and photographs with labels and splits."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

from rffr_jax.data.readers.left_out import SkippedFiles

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""Names of folders and in label files -> the split that they mean."""


@dataclasses.dataclass(frozen=True, slots=True)
class Medium:
    """One video, photograph or folder of frames of a benchmark.

    Attributes:
      id: unique in its data set and the same on every machine, with `/` between its parts:
        `Deepfakes/000_003`, `real/000`.
      path: where it lies; a folder is a video whose frames are the pictures in it.
      split: one of `SPLITS`.
      label: 0 = real, 1 = fake, whatever the benchmark calls it.
      dataset: name of the data set, for the results table.
      method: manipulation method; "real" for a real one.
      source: id of the real medium that a fake was made from; for a real, its own id. Of pictures
        that are frames, the name of the real's video.
      group: cluster of dependent media for the bootstrap: both members of an FF++ split pair, all
        fakes of a DFDC original, a Celeb-DF target; empty means `source`.
      person: who is to be seen, where the benchmark says so; several names with `;` between.
      compression: as the benchmark names it (`c23`); empty where it has one only.
      mask: of a fake, the video that shows its manipulated area in white, where there is one.
      original: of a fake, the real medium of the same frame, where `source` names a video of
        several; None means the medium with the id `source`.
      video: of a picture that is a frame, the video that it belongs to; empty means `id`.
      frame: its number there.
    """

    id: str
    path: pathlib.Path
    split: str
    label: int
    dataset: str
    method: str
    source: str
    group: str = ""
    person: str = ""
    compression: str = ""
    mask: pathlib.Path | None = None
    original: pathlib.Path | None = None
    video: str = ""
    frame: int = 0


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """The media of a benchmark's folder.

    Attributes:
      media: sorted by id, every id once.
      missing: a line for each medium that its folders lack or that was left out.
      left_out: files whose ending is none of a video or image that is read.
      notes: a line for each thing worth knowing of media that are taken.
      absent: ids of the media that its lists name and its folders lack, with their splits.
    """

    media: tuple[Medium, ...]
    missing: tuple[str, ...] = ()
    left_out: SkippedFiles = dataclasses.field(default_factory=SkippedFiles)
    notes: tuple[str, ...] = ()
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)


def hash_to_fraction(name: str) -> float:
    """A number in [0, 1) that is a function of only the name, and evenly spread."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
