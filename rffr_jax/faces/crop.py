"""A face cut out of its picture by one warp straight from the decoded pixels.

Both alignments cut a square whose side is `scale` times the side of the face; 1.0 is the
detector's box only. For `box` that side is the box's longer one, and the square stands upright
around the box's centre. For `similarity` the five landmarks are fitted by rotation, scale and shift
to those of `images.alignment.TEMPLATE` (FFHQ's alignment), and the side and centre of the face are
those that RetinaFace's boxes have there on average: an upright face gets the same context.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from rffr_jax.errors import UserError
from rffr_jax.faces.face import Face
from rffr_jax.images.alignment import (
    estimate_similarity,
    template_landmarks,
    transform_points,
    warp,
)

ALIGNMENTS = ("similarity", "box")
INTERPOLATIONS = ("bilinear", "area")
# RetinaFace's boxes in FFHQ's alignment, as fractions of that crop: mean longer side 0.692
# (standard deviation 0.03), centre (0.502, 0.554) of 150 FFHQ faces; 0.694, (0.508, 0.553) of 150
# video frames.
TEMPLATE_SIDE, TEMPLATE_CENTRE = 0.69, (0.50, 0.554)


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """How faces are cut out; the same for every face of a data set, real or fake.

    Attributes:
      size: side of the crop in pixels.
      scale: side of the square that is cut out, over the side of the face.
      alignment: `similarity` (landmarks to a template) or `box` (upright, around the box).
      interpolation: `bilinear` (between the four nearest pixels, whatever the scale) or `area`
        (antialiased: where the picture shrinks, pixels are averaged).

    Raises:
      UserError: a value that is not possible.
    """

    size: int = 224
    scale: float = 1.3
    alignment: str = "similarity"
    interpolation: str = "area"

    def __post_init__(self):
        if not 16 <= self.size <= 2048:
            raise UserError(f"crop size {self.size}: give 16 to 2048 pixels")
        if not 0.5 <= self.scale <= 5:
            raise UserError(f"crop scale {self.scale}: give 0.5 to 5")
        if self.alignment not in ALIGNMENTS:
            raise UserError(f"alignment '{self.alignment}': give {' or '.join(ALIGNMENTS)}")
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"interpolation '{self.interpolation}': give {' or '.join(INTERPOLATIONS)}"
            )


@dataclasses.dataclass(frozen=True)
class Crop:
    """A face that was cut out.

    Attributes:
      image: RGB; black where the square reaches beyond the picture.
      landmarks: the face's five points in pixels of the crop, not rounded.
    """

    image: UInt8[np.ndarray, "size size 3"]
    landmarks: Float32[np.ndarray, "5 2"]


def crop_face(
    image: UInt8[np.ndarray, "height width 3"], face: Face, settings: CropSettings
) -> Crop:
    """Cuts a face out of an RGB picture.

    Args:
      image: the picture as decoded.
      face: in pixels of the picture.
      settings: how.
    """
    matrix = crop_matrix(face, settings)
    pixels = warp(
        image,
        matrix,
        settings.size,
        interpolation=cv2.INTER_LINEAR,
        border=cv2.BORDER_CONSTANT,
        antialias=settings.interpolation == "area",
    )
    return Crop(pixels, transform_points(face.landmarks, matrix))


def crop_matrix(face: Face, settings: CropSettings) -> Float64[np.ndarray, "2 3"]:
    """The similarity from pixels of the picture to pixels of the crop."""
    if settings.alignment == "box":
        left, top, right, bottom = face.box.astype(np.float64)
        side = max(right - left, bottom - top)
        middle = (left + right) / 2, (top + bottom) / 2
        return square_to_crop(*middle, settings.scale * side, settings.size)
    template = template_landmarks(1)  # one pixel wide, from -0.5 to 0.5
    to_template = estimate_similarity(face.landmarks, template)
    x, y = TEMPLATE_CENTRE
    side = settings.scale * TEMPLATE_SIDE
    to_crop = square_to_crop(x - 0.5, y - 0.5, side, settings.size)
    return _compose(to_crop, to_template)


def square_to_crop(x: float, y: float, side: float, size: int) -> Float64[np.ndarray, "2 3"]:
    """The scaling and shift that take the upright square around (x, y) to a crop.

    Args:
      x, y: its centre in pixels of the picture.
      side: of the square, in pixels of the picture.
      size: side of the crop in pixels.
    """
    factor = size / side
    middle = (size - 1) / 2
    return np.array([[factor, 0, middle - factor * x], [0, factor, middle - factor * y]])


def _compose(
    second: Float64[np.ndarray, "2 3"], first: Float64[np.ndarray, "2 3"]
) -> Float64[np.ndarray, "2 3"]:
    return np.column_stack(
        [second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]]
    )
