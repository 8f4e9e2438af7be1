"""Controls of a detector: real faces with one trace of manipulation, and nothing manipulated.

A detector that scores them as fakes looks for that trace. All but `format` use the mask of a
self-blended image at full strength (`blending.blending_mask`, ratio 1).
"""

import dataclasses
import hashlib
import math

import cv2
import numpy as np
from jaxtyping import UInt8

from rffr_jax.data.selection import keep_reals
from rffr_jax.data.self_blending.blending import (
    blend,
    blending_mask,
    sample_parameters,
    self_blend,
)
from rffr_jax.data.self_blending.pairs import count_landmarks
from rffr_jax.errors import BadImageError
from rffr_jax.examples import FAKE, Dataset, Example
from rffr_jax.images.alignment import warp
from rffr_jax.images.corruptions import reformat
from rffr_jax.images.decode import resize_to_square
from rffr_jax.images.landmarks import LandmarkedFace, load_face, to_68_landmarks

IDENTITY, BRIGHTNESS, FULL_BLEND, FORMAT = CONTROLS = (
    "identity_paste",
    "brightness_edge",
    "full_self_blend",
    "format",
)
# Of the map that the pasted face goes through and back: degrees at most, to either side; factors.
TURN, SCALE = 15.0, (0.8, 1.25)
# By which the inside is brighter or darker, of 1.
BRIGHTNESS_STEP = (0.03, 0.10)
FORMAT_QUALITY = 75


class ControlledReals:
    """A `Dataset`: the reals of another one, then each of them under every control.

    identity_paste   the face, turned and scaled and brought back, is blended onto its own place:
                     a swap without a swap, of which the resampling and the blending are left
    brightness_edge  the inside of the mask is brighter or darker
    full_self_blend  a self-blended image whose real is the untouched one, at ratio 1
    format           the image is shrunk, saved as JPEG and enlarged (`corruptions.reformat`)

    What is random depends only on the seed, the control and the names of the data set and example.

    Attributes:
      examples: n reals, then n of each control in the order of `CONTROLS`; their method is the
        control's name and their label FAKE.
      landmark_counts: as `SelfBlendedPairs.landmark_counts`.
    """

    def __init__(self, dataset: Dataset, seed: int, *, option: str):
        """
        Args:
          dataset: its fakes, if it has any, are not used.
          seed: of all that is random.
          option: the config entry that names the data, for messages.

        Raises:
          UserError: there are no reals, or a real without landmarks.
        """
        self._reals, self._seed = keep_reals(dataset), seed
        self.landmark_counts = count_landmarks(self._reals, option)
        self.examples: tuple[Example, ...] = (
            *self._reals.examples,
            *(
                dataclasses.replace(e, id=f"{e.id}#{control}", label=FAKE, method=control)
                for control in CONTROLS
                for e in self._reals.examples
            ),
        )

    def load(self, index: int, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The RGB image of example `index`, resized as pairs of self-blending are.

        Raises:
          BadImageError: the real cannot be used, or its landmarks enclose next to nothing.
        """
        group, place = divmod(index, len(self._reals.examples))
        face, example = load_face(self._reals, place, size), self._reals.examples[place]
        if not group:
            return resize_to_square(face.image, size)
        control, name = CONTROLS[group - 1], f"{example.dataset}/{example.id}"
        if control == FORMAT:
            return reformat(resize_to_square(face.image, size), FORMAT_QUALITY, name)
        digest = hashlib.blake2b(f"{control}/{name}".encode(errors="surrogateescape")).digest()
        rng = np.random.default_rng((self._seed, int.from_bytes(digest[:8])))
        try:
            return resize_to_square(blended_control(face, control, rng), size)
        except ValueError as error:
            raise BadImageError(example.path, str(error)) from None


def blended_control(
    face: LandmarkedFace, control: str, rng: np.random.Generator
) -> UInt8[np.ndarray, "side side 3"]:
    """A real face under a control other than `format`, at the resolution of the face.

    Raises:
      ValueError: the landmarks enclose next to nothing of the image.
    """
    recipe = dataclasses.replace(sample_parameters(rng), changes_source=True, ratio=1.0)
    if control == FULL_BLEND:
        return self_blend(face, recipe).image
    base = face.image.astype(np.float32) / 255
    source = _resampled(base, rng) if control == IDENTITY else _brighter(base, rng)
    mask = blending_mask(to_68_landmarks(face.landmarks), len(base), recipe)
    return blend(source, base, mask)


def _resampled(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned and scaled about the middle, and brought back: bicubic both times."""
    # No pixel of the picture leaves a canvas with such a border.
    border = math.ceil(0.3 * len(base))
    around = (border,) * 4
    canvas = cv2.copyMakeBorder(base, *around, borderType=cv2.BORDER_REFLECT_101)
    side, middle = len(canvas), (len(canvas) - 1) / 2
    angle, scale = np.deg2rad(rng.uniform(-TURN, TURN)), rng.uniform(*SCALE)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for matrix in (turn, np.linalg.inv(turn)):
        shift = middle - matrix @ np.full(2, middle)
        canvas = warp(canvas, np.column_stack([matrix, shift]), side)
    return canvas[border:-border, border:-border]


def _brighter(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    step = np.float32(rng.choice((-1, 1)) * rng.uniform(*BRIGHTNESS_STEP))
    return (base + step).clip(0, 1)
