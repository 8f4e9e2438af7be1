"""A dataset that hashes each image once and, if asked, keeps its pixels in memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.data.image_hashes import ImageHashes, hash_image
from rffr_jax.data.selection import landmarks_in_picture, sampling_weights
from rffr_jax.data.shared_array import SharedArray
from rffr_jax.errors import BadImageError
from rffr_jax.examples import Dataset, Example, manipulation_mask
from rffr_jax.images.landmarks import LandmarkedFace, landmark_count, load_face


class CachedDataset:
    """A `Dataset` that remembers the hashes of another one's images and, if asked, their pixels.

    A dataset that changes its images (`Captures`) has hashes of its own, of the unchanged ones.
    All processes of a machine that read it share what is remembered (`SharedArray`): the first
    that makes an image makes it for all. Pixels take n * size * size * 3 bytes as the n examples
    are first used (0.6 GB for 4096 at 224 pixels). Bad files are remembered by each process.
    """

    def __init__(
        self, dataset: Dataset, size: int, *, keep_pixels: bool, hashed_size: int | None = None
    ):
        """
        Args:
          size: height and width of the images.
          keep_pixels: whether their pixels are remembered.
          hashed_size: at which evaluations see them, where that is another size.
        """
        self._dataset = dataset
        self._size, self._hashed_size = size, hashed_size or size
        self.strata, self.weights = sampling_weights(dataset)
        self.pair_count: int = getattr(dataset, "pair_count", 0)
        count = len(dataset.examples)
        self._hashes = SharedArray((count, 2), np.uint64)
        self._pixels = SharedArray((count, size, size, 3), np.uint8) if keep_pixels else None
        self._masks = SharedArray((count, size, size), np.uint8) if keep_pixels else None
        self._has_mask = SharedArray((count,), np.bool_)
        self._bad: dict[int, BadImageError] = {}

    @property
    def examples(self) -> Sequence[Example]:
        return self._dataset.examples

    @property
    def hashes(self) -> ImageHashes:
        """Of the images that any process has loaded so far, and of zeros for the others."""
        own = getattr(self._dataset, "hashes", None)
        if own is not None:
            return own
        table = self._hashes.array.copy()
        return ImageHashes(table[:, 0], table[:, 1], len(table))

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index`, in [0, 255]; read-only where pixels are kept.

        Raises:
          BadImageError: the dataset raised it for this example.
          ValueError: `size` is not the size that is kept.
        """
        if size != self._size:
            raise ValueError(f"kept at {self._size} pixels, asked for {size}")
        if index in self._bad:
            raise BadImageError(self._bad[index].name, self._bad[index].reason)
        known = bool(self._hashes.array[index, 0])
        if self._pixels is None or not known:
            try:
                image = self._dataset.load(index, size)
            except BadImageError as error:
                if self._pixels is not None:
                    self._bad[index] = BadImageError(error.name, error.reason)  # no traceback
                raise
            if not known:
                if self._pixels is not None:
                    self._pixels.array[index] = image
                if self._hashed_size == size:
                    hashes = hash_image(image)
                else:
                    hashes = hash_image(self._dataset.load(index, self._hashed_size))
                self._hashes.array[index] = hashes  # only now others read the pixels
            if self._pixels is None:
                return image
        kept = self._pixels.array[index]
        kept.setflags(write=False)
        return kept

    def mask(self, index: int, size: int) -> Float32[np.ndarray, "size size"] | None:
        """Where example `index` is manipulated, 0 to 1 in 255 steps; None where nothing says.

        Kept where pixels are.
        """
        if self._masks is None:
            return manipulation_mask(self._dataset, index, size)
        if not self._has_mask.array[index]:
            mask = manipulation_mask(self._dataset, index, size)
            if mask is None:
                return None
            self._masks.array[index] = np.rint(255 * mask)
            self._has_mask.array[index] = True  # only now others read it
        return self._masks.array[index].astype(np.float32) / 255

    def landmark_count(self, index: int) -> int:
        """How many landmarks the dataset knows of the example."""
        return landmark_count(self._dataset, index)

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The face of example `index` as the dataset keeps it; errors as for `load`.

        The picture of a procedural face is the kept one; other faces are read at their own size.
        """
        points = landmarks_in_picture(self._dataset, index, size)
        if points is not None:
            return LandmarkedFace(self.load(index, size), points)
        if not self._hashes.array[index, 0]:
            self.load(index, self._size)  # hashed as evaluations see it
        return load_face(self._dataset, index, size)
