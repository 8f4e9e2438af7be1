"""Aligned faces: five landmarks, the crop they are expected in, and warps between the two.

Coordinates are OpenCV's: x to the right, y down, in pixels, (0, 0) the CENTRE of the first pixel.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Shaped

# Left eye, right eye, nose tip, left and right mouth corner (left and right of the picture), as
# fractions of the crop: where they lie on average in FFHQ's alignment (Karras et al., 2019).
TEMPLATE = ((0.38, 0.47), (0.62, 0.47), (0.50, 0.61), (0.42, 0.73), (0.58, 0.73))


@dataclasses.dataclass(frozen=True)
class AlignedFace:
    """A square face crop and where its face is.

    Attributes:
      image: RGB in [0, 1].
      landmarks: x, y in pixels of left eye, right eye, nose tip, left and right mouth corner.
    """

    image: Float32[np.ndarray, "size size 3"]
    landmarks: Float32[np.ndarray, "5 2"]

    @property
    def size(self) -> int:
        """Side of the crop in pixels."""
        return self.image.shape[0]

    @property
    def scale(self) -> float:
        """Side in pixels of the crop in which the template would be as large as this face.

        A length given as a fraction of the template crop, times this, is in pixels.
        """
        return self.size * similarity_scale(self.from_template())

    def from_template(self) -> Float64[np.ndarray, "2 3"]:
        """The similarity that takes template points in pixels of this crop to the landmarks."""
        return estimate_similarity(template_landmarks(self.size), self.landmarks)


def template_landmarks(size: int) -> Float32[np.ndarray, "5 2"]:
    """The template's five points in pixels of a crop of `size` x `size`."""
    return (np.array(TEMPLATE) * size - 0.5).astype(np.float32)


def face_from_aligned_crop(image: Float32[np.ndarray, "size size 3"]) -> AlignedFace:
    """A crop that is already aligned and has no landmarks of its own: the template's are taken."""
    return AlignedFace(image, template_landmarks(image.shape[0]))


def estimate_similarity(
    source: Float32[np.ndarray, "points 2"], target: Float32[np.ndarray, "points 2"]
) -> Float64[np.ndarray, "2 3"]:
    """Rotation, scale and shift, without reflection, that take `source` nearest to `target`.

    Least squares in closed form: with points as complex numbers, target = a * source + b
    (the 2-D case of Umeyama, 1991).
    """
    z = source.astype(np.float64) @ np.array([1, 1j])
    w = target.astype(np.float64) @ np.array([1, 1j])
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def similarity_scale(matrix: Float64[np.ndarray, "2 3"]) -> float:
    """The factor by which a similarity multiplies lengths."""
    return math.hypot(matrix[0, 0], matrix[1, 0])


def transform_points(
    points: Float32[np.ndarray, "points 2"], matrix: Float64[np.ndarray, "2 3"]
) -> Float32[np.ndarray, "points 2"]:
    """`points` after the affine map `matrix`."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def warp(
    image: Shaped[np.ndarray, "height width 3"],
    matrix: Float64[np.ndarray, "2 3"],
    size: int,
    *,
    interpolation: int = cv2.INTER_CUBIC,
    border: int = cv2.BORDER_REPLICATE,
    antialias: bool = True,
) -> Shaped[np.ndarray, "size size 3"]:
    """`image` under an affine map.

    Args:
      image: RGB, float in [0, 1] or uint8.
      matrix: from pixels of `image` to pixels of the result.
      size: side of the result in pixels.
      interpolation: OpenCV's number of the interpolation between pixels.
      border: OpenCV's number of what lies beyond the border: by default the border is repeated.
      antialias: whether pixels are averaged where the image shrinks; the map is a similarity then.

    Returns:
      RGB of the same type and range.
    """
    fine = max(1, math.ceil(1 / similarity_scale(matrix) - 1e-6)) if antialias else 1
    # A finer result, whose blocks of `fine` x `fine` pixels are averaged.
    to_fine = matrix * fine
    to_fine[:, 2] += (fine - 1) / 2
    side = size * fine
    result = cv2.warpAffine(image, to_fine, (side, side), flags=interpolation, borderMode=border)
    if fine > 1:
        result = cv2.resize(result, (size, size), interpolation=cv2.INTER_AREA)
    return result if result.dtype == np.uint8 else result.clip(0, 1)


def align(
    image: Float32[np.ndarray, "height width 3"],
    landmarks: Float32[np.ndarray, "5 2"],
    size: int,
) -> AlignedFace:
    """The face of a photograph, cut out so that its landmarks lie nearest to the template's.

    Args:
      image: the photograph, RGB in [0, 1].
      landmarks: its five landmarks in pixels.
      size: side of the crop in pixels.
    """
    matrix = estimate_similarity(landmarks, template_landmarks(size))
    return AlignedFace(warp(image, matrix, size), transform_points(landmarks, matrix))
