"""Another identity's face pasted at full resolution along a sharp polygon, its tones shifted.

Artefact: an edge at most 1.5 pixels wide with a step of colour across it. Nothing is blurred or
interpolated: on both sides the texture is a camera's.
"""

import cv2
import numpy as np

from rffr_jax.images.alignment import AlignedFace, warp
from rffr_jax.synthetic.manipulations.regions import (
    ManipulatedFace,
    blend,
    ellipse_points,
    polygon_mask,
)

_GAMMA = (1.1, 1.3)  # or its inverse
_OFFSET = (0.025, 0.06)  # of one colour channel or another, up or down


def apply(
    face: AlignedFace, donor: AlignedFace | None, rng: np.random.Generator
) -> ManipulatedFace:
    """Pastes a polygon of the donor's face without feather.

    Args:
      face: the face to change.
      donor: the other identity, an image of the same size.
      rng: draws the corners, the gamma and the offset of each colour.

    Returns:
      The composite, and the mask: 1 inside, 0 outside, between them only in the edge pixels.
    """
    assert donor is not None
    corners = ellipse_points(0.5, 0.6, 0.185, 0.21, int(rng.integers(7, 12)))
    centre = np.array([0.5, 0.6])
    corners = centre + (corners - centre) * rng.uniform(0.86, 1.02, (len(corners), 1))
    mask = polygon_mask(face, corners)
    pasted = _match_mean(_moved(donor, face), face.image, mask)
    pasted = _shift_tones(pasted, rng)
    return ManipulatedFace(blend(face.image, pasted, mask), mask)


def _moved(donor: AlignedFace, face: AlignedFace) -> np.ndarray:
    """The donor's picture moved by whole pixels, so that its landmarks lie about on the face's."""
    across, down = np.rint((face.landmarks - donor.landmarks).mean(0)).tolist()
    move = np.array([[1.0, 0, across], [0, 1, down]])
    return warp(donor.image, move, face.size, interpolation=cv2.INTER_NEAREST)


def _match_mean(image: np.ndarray, like: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` with each colour's mean of `like` within the mask, so that any two people fit."""
    inside = (mask > 0.5).astype(np.uint8)
    mean, wanted = (np.array(cv2.mean(picture, inside)[:3]) for picture in (image, like))
    gain = np.clip(wanted / (mean + 1e-3), 0.4, 2.5)
    return (image * gain.astype(np.float32)).clip(0, 1)


def _shift_tones(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    gamma = rng.uniform(*_GAMMA) ** rng.choice([-1, 1])
    offset = rng.uniform(*_OFFSET, 3) * rng.choice([-1, 1], 3)
    return (cv2.pow(image, gamma) + offset.astype(np.float32)).clip(0, 1)
