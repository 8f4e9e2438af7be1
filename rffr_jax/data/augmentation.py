"""Pretraining images changed at random: cut, flipped, brightened or darkened, grey ones tinted.

The paper trains without augmentation; these options are this program's own. All that is random is a
function of the seed, the step and the row of the global batch, so that a run resumed, or shared out
among other processes or workers, sees the same images.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from rffr_jax.data.cache import CachedDataset
from rffr_jax.data.image_hashes import ImageHashes
from rffr_jax.data.selection import sampling_weights
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import Dataset, Example

GREY = 2.0
"""Levels: colours of a grey image differ by less in the mean."""
LEAST_COLOUR_IMAGES, MOST_TINTS = 20, 2000
_FITTED_SIZE = 32  # pixels along a side of the images that tints are fitted to
_MOST_CHROMA = 0.35  # of a tinted pixel: red or blue minus luminance
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_SEED_SALT = int.from_bytes(b"augment", "big")  # other random choices of a seed have other salts


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How much an image may change; 0 and False change nothing.

    Attributes:
      crop: the largest share of the side that is cut off; 0.2 keeps squares of 0.8 to 1 of it.
      flip: whether half of the images are mirrored.
      gain: g: brightness is multiplied by a factor from 1 / (1 + g) to 1 + g.
      gamma: g: brightness in [0, 1] gets an exponent from 1 / (1 + g) to 1 + g.
      tint: whether grey images get the colours of a colour image of the set, of another one every
        time.

    Raises:
      UserError: a value out of range.
    """

    crop: float = 0.0
    flip: bool = False
    gain: float = 0.0
    gamma: float = 0.0
    tint: bool = False

    def __post_init__(self):
        if not 0 <= self.crop < 1:
            raise UserError(
                f"data.augmentation.crop={self.crop} must be 0 or more and below 1; it is the "
                "largest share of the side that is cut off"
            )
        for name in ("gain", "gamma"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UserError(f"data.augmentation.{name}={value} must not be negative")

    def __bool__(self) -> bool:
        return self != Augmentation()

    def kept_size(self, size: int) -> int:
        """The side at which images are kept, so that the smallest square that is cut has `size`."""
        return math.ceil(size / (1 - self.crop))


class AugmentedDataset:
    """A `Dataset` whose training rows are augmented images of another one.

    Attributes:
      strata, weights: as the other one has them.
    """

    def __init__(
        self, dataset: Dataset, size: int, augmentation: Augmentation, seed: int, *, keep_pixels
    ):
        """
        Args:
          size: height and width of the images that training reads.
          seed: of all that is random.
          keep_pixels: whether images are kept in memory, before they are augmented.

        Raises:
          UserError: grey images are to be tinted, and there are too few colour images.
        """
        self._originals, self._augmentation, self._seed = dataset, augmentation, seed
        self._kept_size = augmentation.kept_size(size)
        self._kept = CachedDataset(
            dataset, self._kept_size, keep_pixels=keep_pixels, hashed_size=size
        )
        self.strata, self.weights = sampling_weights(dataset)
        self._grey = np.zeros(len(dataset.examples), bool)
        self._tints = self._fit_tints() if augmentation.tint else np.zeros((0, 5, 2), np.float32)

    @property
    def examples(self) -> Sequence[Example]:
        return self._originals.examples

    @property
    def hashes(self) -> ImageHashes:
        """Of the images that were read so far, as they are before anything is done to them."""
        return self._kept.hashes

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The image of example `index` as it is, for evaluations; `BadImageError` as its own."""
        return self._originals.load(index, size)

    def load_for_row(
        self, index: int, size: int, *, step: int, row: int
    ) -> UInt8[np.ndarray, "size size 3"]:
        """The augmented image of example `index` for a row of the global batch of a step.

        Raises:
          BadImageError: the image cannot be used.
        """
        image = self._kept.load(index, self._kept_size)
        tints = self._tints if self._grey[index] else self._tints[:0]
        return augment(image, self._augmentation, tints, size, self._generator(step, row))

    def mask_for_row(
        self, index: int, size: int, *, step: int, row: int
    ) -> Float32[np.ndarray, "size size"] | None:
        """Where the image of `load_for_row` is manipulated, 0 to 1; None where nothing says."""
        mask = self._kept.mask(index, self._kept_size)
        if mask is None:
            return None
        box, flip = _sample_cut(len(mask), self._augmentation, self._generator(step, row))
        return cut_mask(mask, box, size, flip=flip)

    def _generator(self, step: int, row: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self._seed, _SEED_SALT, step, row)))

    def _fit_tints(self) -> Float32[np.ndarray, "tints 5 2"]:
        tints = []
        for index in range(len(self.examples)):
            try:
                image = self._kept.load(index, self._kept_size)
            except BadImageError:  # training names it
                continue
            self._grey[index] = is_grey(image)
            if not self._grey[index] and is_skin_like(tint := fit_tint(image)):
                tints.append(tint)
        if len(tints) < LEAST_COLOUR_IMAGES:
            raise UserError(
                "data.augmentation.tint gives grey images the colours of others, and data.train "
                f"holds {len(tints)} faces in colour; name at least {LEAST_COLOUR_IMAGES} or leave "
                "it out"
            )
        chosen = np.linspace(0, len(tints) - 1, min(MOST_TINTS, len(tints))).astype(int)
        return np.stack(tints)[chosen]


def augment(
    image: UInt8[np.ndarray, "side side 3"],
    augmentation: Augmentation,
    tints: Float32[np.ndarray, "tints 5 2"],
    size: int,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """The image cut, resized to `size`, flipped, tinted, and with another brightness.

    Args:
      tints: of `fit_tint`, one of which the image gets; none for an image that has colours.
    """
    box, flip = _sample_cut(len(image), augmentation, rng)
    tint, gain, gamma = rng.random(3).tolist()
    image = cut_square(image, box, size, flip=flip)
    if len(tints):
        image = apply_tint(image, tints[int(tint * len(tints))])
    if augmentation.gain or augmentation.gamma:
        factor = (1 + augmentation.gain) ** (2 * gain - 1)
        exponent = (1 + augmentation.gamma) ** (2 * gamma - 1)
        levels = factor * np.linspace(0, 1, 256) ** exponent
        image = cv2.LUT(image, np.rint(255 * levels.clip(0, 1)).astype(np.uint8))
    return image


def _sample_cut(
    side: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[tuple[float, float, float, float], bool]:
    """The square that is cut out of an image, and whether it is mirrored."""
    cut, left, upper, flip = rng.random(4).tolist()
    length = side * (1 - augmentation.crop * cut)
    left, upper = (share * (side - length) for share in (left, upper))
    return (left, upper, left + length, upper + length), augmentation.flip and flip < 0.5


def cut_mask(
    mask: Float32[np.ndarray, "side side"],
    box: tuple[float, float, float, float],
    size: int,
    *,
    flip: bool,
) -> Float32[np.ndarray, "{size} {size}"]:
    """A mask in [0, 1], cut as `cut_square` cuts its image."""
    picture = cv2.merge([np.rint(255 * mask).astype(np.uint8)] * 3)
    return cut_square(picture, box, size, flip=flip)[..., 0].astype(np.float32) / 255


def cut_square(
    image: UInt8[np.ndarray, "height width 3"],
    box: tuple[float, float, float, float],
    size: int,
    *,
    flip: bool,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """A square of an image (left, upper, right, lower in pixels) at `size`, mirrored if asked."""
    if box != (0, 0, size, size) or image.shape[:2] != (size, size):
        picture = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
        image = np.array(picture)
    return image[:, ::-1] if flip else image


# ---- tints: colour as a function of luminance and of the distance from the middle of the face


def is_grey(image: UInt8[np.ndarray, "height width 3"]) -> bool:
    """Whether an image has no colours, or next to none."""
    levels = image.astype(np.int16)
    return bool(np.abs(levels - levels.mean(axis=-1, keepdims=True)).mean() < GREY)


def fit_tint(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "5 2"]:
    """Coefficients of the least-squares fit of a colour image's chroma to `_terms`."""
    small = cv2.resize(image, (_FITTED_SIZE, _FITTED_SIZE), interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32) / 255
    luminance = small @ _LUMINANCE
    chroma = (small[..., ::2] - luminance[..., None]).reshape(-1, 2)
    return np.linalg.lstsq(_terms(luminance), chroma)[0].astype(np.float32)


def is_skin_like(tint: Float32[np.ndarray, "5 2"]) -> bool:
    """Whether dark and bright pixels in the middle of a face become redder, and less blue."""
    brightness = np.array([0.25, 0.5, 0.75])
    red, blue = (tint[0] + brightness[:, None] * tint[1] + brightness[:, None] ** 2 * tint[2]).T
    return bool((blue < 0).all() and (red > 0).all())


def apply_tint(
    image: UInt8[np.ndarray, "size size 3"], tint: Float32[np.ndarray, "5 2"]
) -> UInt8[np.ndarray, "size size 3"]:
    """A grey image with the chroma that `tint` gives to its luminance, which stays."""
    y = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    d = _squared_distance(len(y))
    red, blue = (
        (y * (linear + square * y) + d * (far + mixed * y) + constant).clip(
            -_MOST_CHROMA, _MOST_CHROMA
        )
        for constant, linear, square, far, mixed in tint.T
    )
    green = -(_LUMINANCE[0] * red + _LUMINANCE[2] * blue) / _LUMINANCE[1]
    coloured = cv2.merge([y + red, y + green, y + blue])
    return np.rint(255 * coloured.clip(0, 1)).astype(np.uint8)


def _terms(luminance: Float32[np.ndarray, "side side"]) -> Float32[np.ndarray, "pixels 5"]:
    """1, y, y^2, d and d y of each pixel: luminance y, squared distance d from the middle."""
    y, d = luminance.ravel(), _squared_distance(len(luminance)).ravel()
    return np.stack([np.ones_like(y), y, y**2, d, d * y], axis=1)


def _squared_distance(side: int) -> Float32[np.ndarray, "{side} {side}"]:
    places = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    return places[:, None] + places
