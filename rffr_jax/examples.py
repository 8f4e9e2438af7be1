"""The type of all datasets: a list of examples and a way to load each."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

REAL, FAKE = 0, 1


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One image and what is known about it.

    Attributes:
      id: unique within its dataset and the same on every machine (a relative path, say).
      path: where the image was read from; the id again where there is no file.
      label: 0 = real, 1 = fake, whatever the source calls it.
      dataset: name of the data set, for the results table.
      method: manipulation method; "real" for a real image.
      video: the video (or photograph) that the frame is from.
      frame: number of the frame in its video, 0 for photographs.
      source: the real video or photograph that a fake was made from; for a real, itself.
      group: cluster of dependent examples for the bootstrap; empty means `source`.
      original: of a prepared crop, how the file was saved that it was cut from
        (`images.file_header`); else empty.
      spec: where several specs hold the same ids and were read together, the one it is from; else
        empty. The original beside a fake is one of the same spec.
    """

    id: str
    path: str
    label: int
    dataset: str
    method: str
    video: str
    frame: int
    source: str
    group: str = ""
    original: str = ""
    spec: str = ""

    @property
    def cluster(self) -> str:
        return self.group or self.source or self.video


@runtime_checkable
class Dataset(Protocol):
    """Examples in a fixed order, with their pixels on demand; picklable for worker processes.

    A dataset may have two more abilities: landmarks (`images.landmarks.load_face`) and masks
    (`manipulation_mask`).
    """

    @property
    def examples(self) -> Sequence[Example]: ...

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index` at `size` x `size` pixels.

        Raises:
          BadImageError: the file cannot be used; the message names it and says why.
        """
        ...


def manipulation_mask(
    dataset: Dataset, index: int, size: int
) -> Float32[np.ndarray, "size size"] | None:
    """Where example `index` is manipulated, 0 to 1; None for a dataset without a method `mask`."""
    mask = getattr(dataset, "mask", None)
    return mask(index, size) if mask else None
