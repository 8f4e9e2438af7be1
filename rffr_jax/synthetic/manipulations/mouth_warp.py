"""The own mouth moved by a smooth displacement: no donor, no blending.

Artefact: the geometry is wrong and texture is stretched along the displacement. There is no
edge, no other colour, and the local sharpness is the original's.
"""

import cv2
import numpy as np

from rffr_jax.images.alignment import AlignedFace
from rffr_jax.synthetic.manipulations.regions import ManipulatedFace, blend, blur, match_detail

_CENTRE = (0.5, 0.745)  # of the region, in fractions of the template crop
_RADII = (0.165, 0.115)
_AMPLITUDE = (0.04, 0.06)  # of the displacement, of the face's scale


def apply(
    face: AlignedFace, donor: AlignedFace | None, rng: np.random.Generator
) -> ManipulatedFace:
    """Pulls the two halves of the mouth in different directions.

    Args:
      face: the face to change.
      donor: not used.
      rng: draws the directions and amounts.

    Returns:
      The warped image and a mask that falls smoothly to 0 where nothing moves any more.
    """
    across, down, window = _coordinates(face)
    lift, stretch, slide = (
        rng.choice([-1, 1], 3) * rng.uniform(*_AMPLITUDE, 3) * face.scale
    ).astype(np.float32)
    move_y = window * (lift * np.sin(2.5 * across) + stretch * np.sin(2.5 * down))
    move_x = window * slide * (0.5 + np.sin(2.5 * down))
    columns, rows = _pixel_grid(face.size)
    warped = cv2.remap(
        face.image,
        columns - move_x,
        rows - move_y,
        cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    smooth = blur(warped, 1.0)
    detail = match_detail(
        warped - smooth, face.image - blur(face.image, 1.0), window=0.05 * face.scale, limit=1.6
    )
    sharp = blend(warped, smooth + detail, np.minimum(1, 4 * window))
    return ManipulatedFace(sharp, window)


def _pixel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2)
    return columns, rows


def _coordinates(face: AlignedFace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position in the region (-1 to 1 across and down) and a window that is 0 from its rim on."""
    to_template = cv2.invertAffineTransform(face.from_template()).astype(np.float32)
    columns, rows = _pixel_grid(face.size)
    x = to_template[0, 0] * columns + to_template[0, 1] * rows + to_template[0, 2]
    y = to_template[1, 0] * columns + to_template[1, 1] * rows + to_template[1, 2]
    across = ((x + 0.5) / face.size - _CENTRE[0]) / _RADII[0]
    down = ((y + 0.5) / face.size - _CENTRE[1]) / _RADII[1]
    window = np.maximum(1 - across**2 - down**2, 0) ** 2
    return across, down, window
