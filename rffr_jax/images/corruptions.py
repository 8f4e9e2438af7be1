"""Corruptions of images, as the world makes them: JPEG, blur, resizing, noise.

`format` is a control: reals and fakes all go through one way of saving.

A corruption depends only on the pixels and, for noise, on the example's name. So it is the same in
every process and in any order.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.errors import UserError
from rffr_jax.examples import Dataset, Example
from rffr_jax.images.image_formats import compress_jpeg

Pixels = UInt8[np.ndarray, "height width 3"]
Level = int | float
FORMAT_SIDE = 0.5


def jpeg(image: Pixels, level: Level, name: str) -> Pixels:
    """Saved as a JPEG of quality `level` (1 to 100, 4:2:0) and read again."""
    return compress_jpeg(image, round(level))


def blur(image: Pixels, level: Level, name: str) -> Pixels:
    """A Gaussian of standard deviation `level`, in pixels."""
    return cv2.GaussianBlur(image, (0, 0), level, borderType=cv2.BORDER_REFLECT_101)


def resize(image: Pixels, level: Level, name: str) -> Pixels:
    """Shrunk to `level` of its side (antialiased, bilinear) and enlarged again (bilinear)."""
    height, width = image.shape[:2]
    small = (max(1, round(level * width)), max(1, round(level * height)))
    shrunk = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)
    return np.array(shrunk.resize((width, height), Image.Resampling.BILINEAR))


def noise(image: Pixels, level: Level, name: str) -> Pixels:
    """White Gaussian noise of standard deviation `level`, in steps of 8 bits; drawn for `name`."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape")).digest()[:8])
    drawn = np.random.default_rng(seed).standard_normal(image.shape)
    return np.rint(image + level * drawn).clip(0, 255).astype(np.uint8)


def reformat(image: Pixels, level: Level, name: str) -> Pixels:
    """Shrunk to half its side, saved as a JPEG of quality `level` (1 to 100), enlarged again.

    Shrinking takes away the grid of an earlier JPEG, and what an earlier resizing left near the
    highest frequencies.
    """
    height, width = image.shape[:2]
    small = (round(FORMAT_SIDE * width), round(FORMAT_SIDE * height))
    shrunk = np.array(Image.fromarray(image).resize(small, Image.Resampling.BILINEAR))
    saved = Image.fromarray(compress_jpeg(shrunk, round(level)))
    return np.array(saved.resize((width, height), Image.Resampling.BILINEAR))


CORRUPTIONS: dict[str, Callable[[Pixels, Level, str], Pixels]] = {
    "jpeg": jpeg,
    "blur": blur,
    "resize": resize,
    "noise": noise,
    "format": reformat,
}
_RANGES = {
    "jpeg": (1, 100),
    "format": (1, 100),
    "blur": (0.1, 100),
    "resize": (0.01, 1),
    "noise": (0, 255),
}


@dataclasses.dataclass(frozen=True)
class CorruptedDataset:
    """A `Dataset` whose images are corrupted after they were brought to the size asked for.

    Attributes:
      dataset: the one that is corrupted.
      kind: one of `CORRUPTIONS`.
      level: of it.
    """

    dataset: Dataset
    kind: str
    level: Level

    @property
    def examples(self) -> Sequence[Example]:
        return self.dataset.examples

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The corrupted RGB image of example `index`; errors are those of the dataset."""
        example = self.examples[index]
        image = self.dataset.load(index, size)
        name = f"{example.dataset}/{example.id}"
        return CORRUPTIONS[self.kind](image, self.level, name)


def check_level(kind: str, level: object):
    """Raises: UserError if the kind is not known or the level out of its range."""
    if kind not in CORRUPTIONS:
        raise UserError(f"corruptions: {kind!r} is not known; give {', '.join(CORRUPTIONS)}")
    low, high = _RANGES[kind]
    if not isinstance(level, int | float) or not low <= level <= high:
        raise UserError(f"corruptions.{kind}: {level}; give a level from {low} to {high}")
