"""Real faces as pairs for a detector: each with a self-blended fake of it, a new one every time.

All that is random in a pair is a function of the seed, the step and the pair's place in the global
batch, so that a run resumed, or shared out among other processes or workers, sees the same images.
"""

import collections
import copy
import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.data.augmentation import cut_mask, cut_square
from rffr_jax.data.image_hashes import NO_IMAGES, ImageHashes
from rffr_jax.data.selection import keep_reals
from rffr_jax.data.self_blending.blending import (
    BlendingParameters,
    ColourChange,
    SelfBlended,
    blending_mask,
    change_colours,
    sample_colour_change,
    sample_parameters,
    self_blend,
)
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import FAKE, Dataset, Example
from rffr_jax.images.decode import resize_to_square
from rffr_jax.images.image_formats import compress_jpeg
from rffr_jax.images.landmarks import (
    ALL,
    FIVE,
    LandmarkedFace,
    landmark_count,
    load_face,
    to_68_landmarks,
)

METHOD = "self_blended"
# Of the augmentation of a pair, published.
JPEG_QUALITY = (40, 100)
JPEG_PROBABILITY = 0.5
FLIP_PROBABILITY = 0.5
BRIGHTNESS_CONTRAST, BRIGHTNESS_CONTRAST_PROBABILITY = 0.3, 0.3
# Published are 0.4 to 1.6 times the margins of a test crop; there are no pixels beyond ours.
MARGINS = (0.4, 1.0)

_SEED_SALT = int.from_bytes(b"blending", "big")  # other random choices of a seed have other salts
_BLENDING, _AUGMENTATION = range(2)


class SelfBlendedPairs:
    """A `Dataset`: the reals of another one, then a fake of each, in the same order.

    Attributes:
      examples: n reals and n fakes; a fake has its real's path, data set, video and source.
      landmark_counts: how many reals have 68 landmarks ("own") and how many have five, to which
        68 are fitted ("approximate template").
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        *,
        post_augmentation: bool = True,
    ):
        """
        Args:
          dataset: its fakes, if it has any, are not used.
          seed: of all that is random.
          post_augmentation: whether both images of a pair get the same random flip, cut, change of
            colours and JPEG compression after the blending, as the published method does.

        Raises:
          UserError: there are no reals, or a real without landmarks.
        """
        reals = keep_reals(dataset)
        self.landmark_counts = count_landmarks(reals, "data.train")
        self._reals, self._seed, self._post_augmentation = reals, seed, post_augmentation
        self._full_steps = 0
        self.examples: tuple[Example, ...] = (
            *reals.examples,
            *(
                dataclasses.replace(e, id=f"{e.id}#{METHOD}", label=FAKE, method=METHOD)
                for e in reals.examples
            ),
        )

    @property
    def hashes(self) -> ImageHashes:
        """Of the reals that were read so far, as they are before anything is done to them."""
        return getattr(self._reals, "hashes", NO_IMAGES)

    @property
    def pair_count(self) -> int:
        """Number of pairs n; the fake of real i is example n + i."""
        return len(self.examples) // 2

    def with_full_blends(self, steps: int) -> "SelfBlendedPairs":
        """The same pairs, but every fake of the first `steps` steps is blended at ratio 1."""
        pairs = copy.copy(self)
        pairs._full_steps = steps
        return pairs

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Example `index` as it is in row 0 or 1 of step 0; `load_for_row` has the errors."""
        return self.load_for_row(index, size, step=0, row=0)

    def load_for_row(
        self, index: int, size: int, *, step: int, row: int
    ) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index` at `size` x `size` pixels.

        A pair is blended at the resolution that its real is kept at, then both are resized by the
        rule of decoded images.

        Args:
          index: of the example.
          size: height and width in pixels.
          step: of the training.
          row: of the global batch; rows 2j and 2j + 1 are a pair and share all that is random.

        Raises:
          BadImageError: the real cannot be used, or its landmarks enclose next to nothing.
        """
        face = load_face(self._reals, index % self.pair_count, size)
        pair = self._blend(face, index, step, row)
        image = pair.image if index >= self.pair_count else pair.real
        if not self._post_augmentation:
            return resize_to_square(image, size)
        augmentation = sample_augmentation(self._generator(_AUGMENTATION, step, row))
        return augment(image, to_68_landmarks(face.landmarks), augmentation, size)

    def mask_for_row(
        self, index: int, size: int, *, step: int, row: int
    ) -> Float32[np.ndarray, "size size"]:
        """The mask M of the image of `load_for_row`, 0 to 1; zeros for a real."""
        if index < self.pair_count:
            return np.zeros((size, size), np.float32)
        face = load_face(self._reals, index - self.pair_count, size)
        points = to_68_landmarks(face.landmarks)
        mask = blending_mask(points, len(face.image), self._recipe(step, row))
        if not self._post_augmentation:
            side = float(len(mask))
            return cut_mask(mask, (0.0, 0.0, side, side), size, flip=False)
        augmentation = sample_augmentation(self._generator(_AUGMENTATION, step, row))
        box = _cut_square(len(mask), points, augmentation.margins)
        return cut_mask(mask, box, size, flip=augmentation.flip)

    def blend(self, index: int, size: int, *, step: int, row: int) -> SelfBlended:
        """The pair of example `index` at the resolution of its real; as `load_for_row`."""
        return self._blend(load_face(self._reals, index % self.pair_count, size), index, step, row)

    def _blend(self, face: LandmarkedFace, index: int, step: int, row: int) -> SelfBlended:
        try:
            return self_blend(face, self._recipe(step, row))
        except ValueError as error:
            raise BadImageError(self.examples[index].path, str(error)) from None

    def _recipe(self, step: int, row: int) -> BlendingParameters:
        recipe = sample_parameters(self._generator(_BLENDING, step, row))
        return dataclasses.replace(recipe, ratio=1.0) if step < self._full_steps else recipe

    def _generator(self, purpose: int, step: int, row: int) -> np.random.Generator:
        key = (self._seed, _SEED_SALT, purpose, step, row // 2)
        return np.random.default_rng(np.random.SeedSequence(key))


def count_landmarks(reals: Dataset, option: str) -> dict[str, int]:
    """How many reals have their own 68 landmarks, and how many five, to which 68 are fitted.

    Args:
      reals: a dataset without fakes.
      option: the config entry that names the data, for the message.

    Raises:
      UserError: there are no reals, or a real without landmarks.
    """
    if not reals.examples:
        raise UserError(
            f"{option} holds no real images (label 0), of which self-blended fakes are made; "
            "add some"
        )
    counts = collections.Counter()
    for index, example in enumerate(reals.examples):
        count = landmark_count(reals, index)
        if not count:
            raise UserError(
                f"{option}: no landmarks are known of {example.path}, and self-blending "
                f"needs {ALL} or {FIVE} of every real: prepare the data with "
                "scripts/prepare_faces.py, give the table a column `landmarks`, or, if the "
                "faces are aligned as FFHQ's, add ?landmarks=aligned to the spec"
            )
        counts[count] += 1
    return {"own": counts[ALL], "approximate template": counts[FIVE]}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is done to both images of a pair after the blending.

    Attributes:
      flip: whether left and right are swapped.
      margins: shares that are kept between the face and the left, upper, right and lower border.
      colours: how they change.
      jpeg_quality: 0 where the image is not compressed.
    """

    flip: bool
    margins: tuple[float, float, float, float]
    colours: ColourChange
    jpeg_quality: int


def sample_augmentation(rng: np.random.Generator) -> Augmentation:
    """A random augmentation."""
    flips, compresses = (rng.random(2) < (FLIP_PROBABILITY, JPEG_PROBABILITY)).tolist()
    left, upper, right, lower = rng.uniform(*MARGINS, 4).tolist()
    colours = sample_colour_change(
        rng, most=BRIGHTNESS_CONTRAST, probability=BRIGHTNESS_CONTRAST_PROBABILITY
    )
    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    return Augmentation(flips, (left, upper, right, lower), colours, quality if compresses else 0)


def augment(
    image: UInt8[np.ndarray, "side side 3"],
    points: Float32[np.ndarray, "68 2"],
    augmentation: Augmentation,
    size: int,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """The image cut, resized to `size`, flipped, in other colours and after JPEG compression.

    Args:
      points: the face's landmarks in pixels of `image`, which the margins are measured from.
    """
    box = _cut_square(len(image), points, augmentation.margins)
    image = cut_square(image, box, size, flip=augmentation.flip)
    changed = change_colours(image.astype(np.float32) / 255, augmentation.colours)
    image = np.rint(changed * 255).astype(np.uint8)
    return compress_jpeg(image, augmentation.jpeg_quality) if augmentation.jpeg_quality else image


def _cut_square(
    side: int, points: np.ndarray, margins: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """A square about the box that the margins leave: left, upper, right, lower in pixels."""
    low, high = points.min(0).clip(0, side), (points.max(0) + 1).clip(0, side)
    start = low * (1 - np.array(margins[:2]))
    end = high + (side - high) * np.array(margins[2:])
    length = float((end - start).mean())
    left, upper = ((start + end - length) / 2).clip(0, side - length).tolist()
    return left, upper, left + length, upper + length
