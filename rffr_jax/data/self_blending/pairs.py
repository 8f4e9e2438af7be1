"""Real faces as pairs for a detector: each with a self-blended fake of it, a new one every time.

What is drawn for a row of a batch is a function of the seed, the step and the row of the global
batch, so that a run resumed, or shared out among other processes or workers, sees the same images.
"""

import collections
import dataclasses

import numpy as np
from jaxtyping import UInt8

from rffr_jax.data.selection import keep_reals
from rffr_jax.data.self_blending.blending import (
    SelfBlended,
    change_colours,
    draw_colour_change,
    draw_parameters,
    self_blend,
)
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.examples import FAKE, Dataset, Example
from rffr_jax.images.decode import resize_to_square
from rffr_jax.images.image_formats import compress_jpeg
from rffr_jax.images.landmarks import ALL, FIVE, landmark_count, load_face

METHOD = "self_blended"
JPEG_QUALITY = (40, 100)  # of the post-augmentation

_STREAM = int.from_bytes(b"blending", "big")  # keeps these draws apart from others of the seed
_BLENDING, _POST_AUGMENTATION = range(2)


class SelfBlendedPairs:
    """A `Dataset`: the reals of another one, then a fake of each, in the same order.

    Attributes:
      examples: n reals and n fakes; a fake has its real's path, data set, video and source.
      landmark_counts: how many reals have 68 landmarks ("own") and how many have five, to which
        68 are fitted ("approximate template").
    """

    def __init__(self, dataset: Dataset, seed: int, *, post_augmentation: bool = False):
        """
        Args:
          dataset: its fakes, if it has any, are not used.
          seed: of all draws.
          post_augmentation: whether both images of a pair get the same random change of colours
            and the same JPEG compression, each with p = 0.5, as SBI's authors do.

        Raises:
          UserError: there are no reals, or a real without landmarks.
        """
        reals = keep_reals(dataset)
        if not reals.examples:
            raise UserError(
                "data.train holds no real images (label 0), of which self-blended fakes are made; "
                "add some"
            )
        counts = collections.Counter()
        for index, example in enumerate(reals.examples):
            count = landmark_count(reals, index)
            if not count:
                raise UserError(
                    f"data.train: no landmarks are known of {example.path}, and self-blending "
                    f"needs {ALL} or {FIVE} of every real: prepare the data with "
                    "scripts/prepare_faces.py, give the table a column `landmarks`, or, if the "
                    "faces are aligned as FFHQ's, add ?landmarks=aligned to the spec"
                )
            counts[count] += 1
        self.landmark_counts = {"own": counts[ALL], "approximate template": counts[FIVE]}
        self._reals, self._seed, self._post_augmentation = reals, seed, post_augmentation
        self.examples: tuple[Example, ...] = (
            *reals.examples,
            *(
                dataclasses.replace(e, id=f"{e.id}#{METHOD}", label=FAKE, method=METHOD)
                for e in reals.examples
            ),
        )

    @property
    def count(self) -> int:
        """Number of pairs n; the fake of real i is example n + i."""
        return len(self.examples) // 2

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Example `index` as it is drawn for row 0 of step 0; `load_for_row` has the errors."""
        return self.load_for_row(index, size, step=0, row=0)

    def load_for_row(
        self, index: int, size: int, *, step: int, row: int
    ) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index` at `size` x `size` pixels.

        A fake is blended at the resolution that its real is kept at, and resized as reals are.

        Args:
          index: of the example.
          size: height and width in pixels.
          step: of the training.
          row: of the global batch; rows 2j and 2j + 1 share the post-augmentation.

        Raises:
          BadImageError: the real cannot be used, or its landmarks enclose next to nothing.
        """
        if index < self.count:
            image = self._reals.load(index, size)
        else:
            image = resize_to_square(self.blend(index, size, step=step, row=row).image, size)
        if self._post_augmentation:
            image = post_augment(image, self._generator(_POST_AUGMENTATION, step, row // 2))
        return image

    def blend(self, index: int, size: int, *, step: int, row: int) -> SelfBlended:
        """The fake `index` and its mask at the resolution of its real; as `load_for_row`."""
        face = load_face(self._reals, index - self.count, size)
        recipe = draw_parameters(self._generator(_BLENDING, step, row))
        try:
            return self_blend(face, recipe)
        except ValueError as error:
            raise BadImageError(self.examples[index].path, str(error)) from None

    def _generator(self, purpose: int, step: int, row: int) -> np.random.Generator:
        key = (self._seed, _STREAM, purpose, step, row)
        return np.random.default_rng(np.random.SeedSequence(key))


def post_augment(
    image: UInt8[np.ndarray, "size size 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """The image with other colours and after JPEG compression, each with p = 0.5."""
    recolours, compresses = rng.random(2) < 0.5
    colours, quality = draw_colour_change(rng), int(rng.integers(*JPEG_QUALITY, endpoint=True))
    if recolours:
        changed = change_colours(image.astype(np.float32) / 255, colours)
        image = np.rint(changed * 255).astype(np.uint8)
    if compresses:
        image = compress_jpeg(image, quality)
    return image
