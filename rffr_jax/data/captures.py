"""A fixed number of captures of every training image, in place of new ones at every step."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.data.augmentation import AugmentedDataset
from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.data.selection import sampling_weights
from rffr_jax.data.self_blending.pairs import SelfBlendedPairs
from rffr_jax.examples import Example


class Captures:
    """A `Dataset`: N captures of each example of another one whose rows are made at random.

    Capture c of example i is what the other dataset makes for row i of step c: a function of its
    seed. A training draws captures as it draws examples, so each comes back, and its residual can
    be kept. The two of a self-blended pair are captured together.

    Attributes:
      examples: each of the other one N times; of pairs all reals come first.
      strata, weights: as the other one has them.
      pair_count: number of captured pairs; 0 where examples are no pairs.
    """

    def __init__(self, dataset: SelfBlendedPairs | AugmentedDataset, count: int):
        """
        Args:
          count: N, at least 1.
        """
        self._dataset, self._count = dataset, count
        pairs = getattr(dataset, "pair_count", 0)
        self._part = pairs or len(dataset.examples)
        parts = dataset.examples[: self._part], dataset.examples[self._part :]
        self.examples: Sequence[Example] = tuple(e for part in parts for e in (*part,) * count)
        strata, self.weights = sampling_weights(dataset)
        self.strata = strata * count
        self.pair_count = pairs * count

    @property
    def hashes(self) -> ImageHashes:
        """Of the images that were read so far, as they are before anything is done to them."""
        return self._dataset.hashes

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The captured image `index`, always the same; `BadImageError` as the dataset raises it."""
        there, capture, row = self._place(index)
        return self._dataset.load_for_row(there, size, step=capture, row=row)

    def mask(self, index: int, size: int) -> Float32[np.ndarray, "size size"] | None:
        """Where the captured image `index` is manipulated, 0 to 1; None where nothing says."""
        there, capture, row = self._place(index)
        return self._dataset.mask_for_row(there, size, step=capture, row=row)

    def _place(self, index: int) -> tuple[int, int, int]:
        """The example of the other dataset, the number of the capture, and its row."""
        part, place = divmod(index, self._part * self._count)
        capture, number = divmod(place, self._part)
        return part * self._part + number, capture, 2 * number if self.pair_count else number
