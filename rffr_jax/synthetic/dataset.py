"""Procedural faces and their manipulations as a dataset, made when they are asked for."""

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.errors import UserError
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.images.alignment import transform_points
from rffr_jax.images.landmarks import ALL, LandmarkedFace
from rffr_jax.synthetic.capture import CapturedImage, capture, capture_similarity
from rffr_jax.synthetic.manipulations import IDENTITY, METHODS, NEEDS_DONOR
from rffr_jax.synthetic.person import procedural_landmarks
from rffr_jax.synthetic.procedural_face import render_face

SPLIT_SIZES = {"train": 4096, "validation": 512, "test": 512}
_IDENTITIES_PER_SPLIT = 1_000_000
_OVERSAMPLING = 1.25  # of the portrait over the image that is made of it
_DONOR = 0xD0


class SyntheticDataset:
    """`synthetic:SEED#split`: half reals, half fakes; the identities of two splits are disjoint.

    Example i of the first half is the portrait of a person of its own; fake j is manipulation
    j % 4 of real j // 4. A donor is another person of the same split.
    """

    def __init__(self, seed: int, split: str):
        """Args:
          seed: a non-negative number; another seed gives other people.
          split: "train" (4096 images), "validation" (512) or "test" (512).

        Raises:
          UserError: unknown split or negative seed.
        """
        if split not in SPLIT_SIZES:
            raise UserError(
                f"synthetic:{seed}#{split}: unknown split; take one of {', '.join(SPLIT_SIZES)}"
            )
        if seed < 0:
            raise UserError(f"synthetic:{seed}#{split}: the seed must not be negative")
        self.seed = seed
        self.split = split
        self._reals = SPLIT_SIZES[split] // 2
        self._first = list(SPLIT_SIZES).index(split) * _IDENTITIES_PER_SPLIT
        self.examples = tuple(self._example(i) for i in range(SPLIT_SIZES[split]))

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index` at `size` x `size` pixels, always the same."""
        return self.capture(index, size).image

    def landmark_count(self, index: int) -> int:
        """All 68: those of the person portrayed, whatever was done to the picture."""
        return ALL

    def face(self, index: int, size: int) -> LandmarkedFace:
        """The picture of example `index`, painted at `size`, with the points it is painted by."""
        return LandmarkedFace(self.load(index, size), self.landmarks_in_picture(index, size))

    def landmarks_in_picture(self, index: int, size: int) -> Float32[np.ndarray, "68 2"]:
        """The points of example `index` in pixels of its picture at `size`."""
        number, _ = self._recipe(index)
        person, portrait = self._first + number, round(_OVERSAMPLING * size)
        shape = procedural_landmarks(self.seed, person) * portrait - 0.5
        matrix = capture_similarity((self.seed, person), portrait, size)
        return transform_points(shape, matrix)

    def mask(self, index: int, size: int) -> Float32[np.ndarray, "size size"]:
        """Where example `index` is manipulated, 0 to 1; all 0 for a real."""
        return self.capture(index, size).mask

    def capture(self, index: int, size: int) -> CapturedImage:
        """Image, mask and JPEG bytes of example `index`."""
        number, method = self._recipe(index)
        portrait = round(_OVERSAMPLING * size)
        person = self._first + number
        source = render_face(self.seed, person, portrait)
        donor = None
        if method in NEEDS_DONOR:
            donor = render_face(self.seed, self._first + self.donor(index), portrait)
        return capture(source, donor, method, (self.seed, person), size)

    def donor(self, index: int) -> int:
        """Number within the split of the person who lends the face for fake `index`."""
        number, method = self._recipe(index)
        key = [self.seed, self._first + number, METHODS.index(method), _DONOR]
        other = np.random.default_rng(np.random.SeedSequence(key)).integers(self._reals - 1)
        return int(other + (other >= number))

    def _recipe(self, index: int) -> tuple[int, str]:
        """Number within the split of the source person, and the manipulation."""
        if not 0 <= index < SPLIT_SIZES[self.split]:
            raise IndexError(f"example {index} of {SPLIT_SIZES[self.split]}")
        if index < self._reals:
            return index, IDENTITY
        fake = index - self._reals
        return fake // len(METHODS), METHODS[fake % len(METHODS)]

    def _example(self, index: int) -> Example:
        number, method = self._recipe(index)
        name = f"synthetic:{self.seed}#{self.split}"
        real = f"{name}/real/{number:05d}"
        is_real = method == IDENTITY
        identifier = real if is_real else f"{name}/{method}/{number:05d}"
        return Example(
            id=identifier,
            path=identifier,
            label=REAL if is_real else FAKE,
            dataset="synthetic",
            method="real" if is_real else method,
            video=identifier,
            frame=0,
            source=real,
        )
