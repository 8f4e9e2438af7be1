"""A photograph or frame of video at its own scale, with one face's 68 landmarks and its person."""

import dataclasses

import numpy as np
from jaxtyping import Float32, UInt8

from rffr_jax.images.alignment import estimate_similarity, similarity_scale, transform_points
from rffr_jax.images.landmarks import TEMPLATE_68
from rffr_jax.synthetic.face_mesh import MeshedFace, mesh_points

SMALLEST_EYE_DISTANCE = 16.0  # in pixels
_LARGEST_MISFIT = 0.35  # of the points from the mean face's, in distances of the eyes

_MOUTH = 48  # the first of its landmarks


@dataclasses.dataclass(frozen=True)
class LandmarkedFrame:
    """An image with a face whose landmarks are known.

    Attributes:
      image: RGB in [0, 255].
      landmarks: x, y of the 68 points (`rffr_jax.images.landmarks`) in pixels of `image`.
      person: who is shown; frames of one person have one name.
    """

    image: UInt8[np.ndarray, "height width 3"]
    landmarks: Float32[np.ndarray, "points 2"]
    person: str

    def __post_init__(self):
        """
        Raises:
          ValueError: points are missing, lie outside the image, are no face's, or the face is
            too small. The message is a reason without a subject.
        """
        points = self.landmarks
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise ValueError("landmarks are missing: 68 points of two numbers are needed")
        height, width, _ = self.image.shape
        outside = ((points < 0) | (points > [width - 1, height - 1])).any(1)
        if outside.any():
            raise ValueError(
                f"{outside.sum()} of its 68 landmarks lie outside its {width} x {height} pixels"
            )
        scale, misfit = _fit_mean_face(points)
        if misfit > _LARGEST_MISFIT:
            raise ValueError(
                "its landmarks are no face's, or of one turned far to the side: they lie "
                f"{misfit:.2f} distances of the eyes from the mean face's, over {_LARGEST_MISFIT}"
            )
        if scale < SMALLEST_EYE_DISTANCE:
            raise ValueError(
                f"its eyes lie {scale:.0f} pixels apart; at least {SMALLEST_EYE_DISTANCE:.0f} are "
                "needed"
            )


def _fit_mean_face(points: np.ndarray) -> tuple[float, float]:
    """Distance of the eyes in pixels of the mean face fitted to the points; root mean square of
    what is left, in such distances."""
    matrix = estimate_similarity(TEMPLATE_68, points)
    eyes = TEMPLATE_68[42:48].mean(0) - TEMPLATE_68[36:42].mean(0)
    scale = similarity_scale(matrix) * float(np.linalg.norm(eyes))
    left = np.linalg.norm(points - transform_points(TEMPLATE_68, matrix), axis=1)
    return scale, float(np.sqrt((left**2).mean())) / max(scale, 1e-6)


def pose_and_light_distance(one: LandmarkedFrame, other: LandmarkedFrame) -> float:
    """How differently two faces are turned and lit; their mouths do not matter.

    Root mean square distance of the points, in distances of the eyes, after the best similarity,
    plus that of the light on the cheeks: of each relative to both, and half its logarithm.
    """
    points = one.landmarks[:_MOUTH]
    scale, _ = _fit_mean_face(one.landmarks)
    matrix = estimate_similarity(other.landmarks[:_MOUTH], points)
    moved = transform_points(other.landmarks[:_MOUTH], matrix) - points
    light = _relative_light(one) - _relative_light(other)
    return float(np.sqrt((moved**2).sum(1).mean()) / scale + np.sqrt((light**2).mean()))


def _relative_light(frame: LandmarkedFrame) -> np.ndarray:
    """RGB of the two cheeks over the mean of both, and the logarithm of that mean."""
    points = frame.landmarks
    radius = max(1, round(0.1 * _fit_mean_face(points)[0]))
    cheeks = []
    for eye, mouth in ((slice(36, 42), 48), (slice(42, 48), 54)):
        x, y = np.rint((points[eye].mean(0) + points[mouth]) / 2).astype(int).tolist()
        rows, columns = (slice(max(0, n - radius), n + radius + 1) for n in (y, x))
        patch = frame.image[rows, columns]
        cheeks.append(patch.mean((0, 1)) + 1)
    mean = np.mean(cheeks, 0)
    return np.concatenate([*(cheeks / mean), np.log(mean) / 2])


def crop_face(frame: LandmarkedFrame) -> tuple[MeshedFace, tuple[slice, slice]]:
    """The part of a frame that the mesh of its face covers, and the rows and columns of it."""
    points = mesh_points(frame.landmarks)
    height, width, _ = frame.image.shape
    left, top = np.maximum(np.floor(points.min(0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(points.max(0)).astype(int) + 1, [width, height]).tolist()
    where = slice(top, bottom), slice(left, right)
    image = frame.image[where].astype(np.float32) / 255
    return MeshedFace(image, points - np.array([left, top], np.float32)), where
