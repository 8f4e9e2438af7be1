"""Landmarks of a face: 68 points where they are known, else a template fitted to five of them.

The 68 points are those of iBUG's 300-W (Sagonas et al., 2013), counted from 0; left and right are
the picture's: 0-16 the jaw from the left ear over the chin (8) to the right, 17-21 and 22-26 the
brows, 27-30 the bridge of the nose to its tip, 31-35 below it, 36-41 and 42-47 the eyes, 48-59 the
outer and 60-67 the inner edge of the lips. The five are the middles of the eyes, the tip of the
nose and the corners of the mouth. Coordinates are x to the right and y down in pixels, (0, 0) the
centre of the first pixel.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from rffr_jax.examples import Dataset
from rffr_jax.images.alignment import estimate_similarity, transform_points

FIVE, ALL = 5, 68

# The mean of the 68 points annotated in 1,094 video frames of 216 people (YouTube Faces), each
# fitted by its five points to `alignment.TEMPLATE`, made symmetric: fractions of FFHQ's crop.
_JAW = (
    (0.236, 0.487), (0.239, 0.557), (0.250, 0.621), (0.263, 0.682), (0.285, 0.750), (0.323, 0.807),
    (0.364, 0.845), (0.418, 0.878), (0.500, 0.900), (0.582, 0.878), (0.636, 0.845), (0.677, 0.807),
    (0.715, 0.750), (0.737, 0.682), (0.750, 0.621), (0.761, 0.557), (0.764, 0.487),
)  # fmt: skip
_BROWS = (
    (0.299, 0.418), (0.329, 0.395), (0.368, 0.388), (0.403, 0.391), (0.435, 0.400),
    (0.565, 0.400), (0.597, 0.391), (0.632, 0.388), (0.671, 0.395), (0.701, 0.418),
)  # fmt: skip
_NOSE = (
    (0.500, 0.478), (0.500, 0.524), (0.500, 0.568), (0.500, 0.606),
    (0.457, 0.636), (0.475, 0.641), (0.500, 0.647), (0.525, 0.641), (0.543, 0.636),
)  # fmt: skip
_EYES = (
    (0.347, 0.475), (0.371, 0.464), (0.403, 0.464), (0.432, 0.478), (0.405, 0.487), (0.372, 0.487),
    (0.568, 0.478), (0.597, 0.464), (0.629, 0.464), (0.653, 0.475), (0.628, 0.487), (0.595, 0.487),
)  # fmt: skip
_LIPS = (
    (0.409, 0.726), (0.440, 0.705), (0.479, 0.693), (0.500, 0.697), (0.521, 0.693), (0.560, 0.705),
    (0.591, 0.726), (0.559, 0.755), (0.531, 0.771), (0.500, 0.774), (0.469, 0.771), (0.441, 0.755),
    (0.415, 0.725), (0.473, 0.717), (0.500, 0.715), (0.527, 0.717), (0.585, 0.725), (0.527, 0.739),
    (0.500, 0.742), (0.473, 0.739),
)  # fmt: skip
TEMPLATE_68: Float32[np.ndarray, "68 2"] = np.array(
    _JAW + _BROWS + _NOSE + _EYES + _LIPS, np.float32
)


@dataclasses.dataclass(frozen=True)
class LandmarkedFace:
    """A square crop at the resolution that it is kept at, and where its face is.

    Attributes:
      image: RGB in [0, 255].
      landmarks: x, y in pixels of `image`: 68 points, or the five.
    """

    image: UInt8[np.ndarray, "side side 3"]
    landmarks: Float32[np.ndarray, "points 2"]


def landmark_count(dataset: Dataset, index: int) -> int:
    """How many landmarks of example `index` are known: 68, 5 or 0.

    A dataset without a method `landmark_count` knows none.
    """
    count = getattr(dataset, "landmark_count", None)
    return count(index) if count else 0


def load_face(dataset: Any, index: int, size: int) -> LandmarkedFace:
    """Example `index` of a dataset with landmarks, at the resolution that it is kept at.

    Args:
      dataset: one whose `landmark_count` of the example is not 0.
      index: of the example.
      size: the side in pixels that it will be resized to. A synthetic face is drawn at this size.

    Raises:
      BadImageError: the file cannot be used.
    """
    return dataset.face(index, size)


def to_five_landmarks(shape: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "5 2"]:
    """The five landmarks of 68."""
    return np.stack([shape[36:42].mean(0), shape[42:48].mean(0), *shape[[30, 48, 54]]])


def to_68_landmarks(landmarks: Float32[np.ndarray, "points 2"]) -> Float32[np.ndarray, "68 2"]:
    """68 points of a face: its own, or approximate ones.

    Args:
      landmarks: 68 points, returned as they are, or five, to which `TEMPLATE_68` is fitted by
        rotation, scale and shift (least squares).
    """
    if len(landmarks) == ALL:
        return landmarks
    matrix = estimate_similarity(to_five_landmarks(TEMPLATE_68), landmarks)
    return transform_points(TEMPLATE_68, matrix)


def crop_centred_square(
    image: UInt8[np.ndarray, "height width 3"], landmarks: Float32[np.ndarray, "points 2"]
) -> LandmarkedFace:
    """The largest square in the middle of an image, which `images.decode` resizes."""
    height, width, _ = image.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = image[top : top + side, left : left + side]
    return LandmarkedFace(square, landmarks - np.array([left, top], np.float32))
