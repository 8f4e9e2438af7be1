"""A dataset that decodes (or makes) each image once and keeps its pixels in memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from rffr_jax.data.selection import sampling_weights
from rffr_jax.errors import BadImageError
from rffr_jax.examples import Dataset, Example
from rffr_jax.images.landmarks import LandmarkedFace, landmark_count, load_face


class InMemoryDataset:
    """A `Dataset` that loads every example of another one at most once, at one size.

    Memory grows to n * size * size * 3 bytes as the n examples are first used (0.6 GB for 4096 at
    224 pixels), and by the faces that are asked for, at their own sizes. Bad files are remembered
    as well. Read it with `workers=0`: every worker process would fill a copy of its own.
    """

    def __init__(self, dataset: Dataset, size: int):
        self._dataset = dataset
        self._size = size
        self._kept: dict[int, np.ndarray | BadImageError] = {}
        self.strata, self.weights = sampling_weights(dataset)
        self._faces: dict[int, LandmarkedFace | BadImageError] = {}

    @property
    def examples(self) -> Sequence[Example]:
        return self._dataset.examples

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index`, in [0, 255]; read-only.

        Raises:
          BadImageError: the dataset raised it for this example.
          ValueError: `size` is not the size that is kept.
        """
        if size != self._size:
            raise ValueError(f"kept at {self._size} pixels, asked for {size}")
        kept = self._kept.get(index)
        if kept is None:
            kept = self._kept[index] = self._load(index)
        if isinstance(kept, BadImageError):
            raise BadImageError(kept.name, kept.reason)
        return kept

    def landmark_count(self, index: int) -> int:
        """How many landmarks the dataset knows of the example."""
        return landmark_count(self._dataset, index)

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The face of example `index` as the dataset keeps it; errors as for `load`."""
        kept = self._faces.get(index)
        if kept is None:
            kept = self._faces[index] = self._face(index, size)
        if isinstance(kept, BadImageError):
            raise BadImageError(kept.name, kept.reason)
        return kept

    def _face(self, index: int, size: int) -> LandmarkedFace | BadImageError:
        try:
            face = load_face(self._dataset, index, size)
        except BadImageError as error:
            return BadImageError(error.name, error.reason)
        face.image.setflags(write=False)
        return face

    def _load(self, index: int) -> np.ndarray | BadImageError:
        try:
            image = self._dataset.load(index, self._size)
        except BadImageError as error:
            return BadImageError(error.name, error.reason)  # without the traceback's arrays
        image.setflags(write=False)
        return image
