"""Mouth and nose re-made from half their resolution by a stride-2 transposed filter.

Artefact: the finest detail repeats with a period of two pixels, because the filter gives each of
the four phases another gain. Its energy is the original's, place by place, so that the region is
neither blurred nor sharpened.
"""

import math

import cv2
import numpy as np

from rffr_jax.images.alignment import AlignedFace
from rffr_jax.synthetic.manipulations.regions import (
    ManipulatedFace,
    blend,
    blur,
    ellipse_points,
    feather,
    match_detail,
    polygon_mask,
)

_UNEVEN = (0.12, 0.22)  # spread of the four phases' gains
_SHARE = (0.35, 0.55)  # of the fine energy that the filter's traces take over
_FEATHER = 0.015  # of the face's scale


def apply(
    face: AlignedFace, donor: AlignedFace | None, rng: np.random.Generator
) -> ManipulatedFace:
    """Replaces the fine detail of mouth and nose by that of a transposed filter.

    Args:
      face: the face to change.
      donor: not used.
      rng: draws the region, the filter's unevenness, the phase of its grid and its share.

    Returns:
      The blend and its feathered mask.
    """
    region = ellipse_points(0.5, 0.68, rng.uniform(0.13, 0.15), rng.uniform(0.135, 0.155), 32)
    mask = feather(polygon_mask(face, region), _FEATHER * face.scale)
    made = _transposed(face.image, rng)
    smooth = blur(face.image, 0.9)
    own = face.image - smooth
    window = 0.03 * face.scale
    traces = match_detail(made - blur(made, 0.9), own, window, limit=8.0)
    share = rng.uniform(*_SHARE)
    mixed = np.float32(math.sqrt(1 - share)) * own + np.float32(math.sqrt(share)) * traces
    detail = match_detail(mixed, own, window, limit=2.0)
    return ManipulatedFace(blend(face.image, smooth + detail, mask), mask)


def _transposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`image` halved, spread on every second pixel and filtered with an uneven kernel."""
    size = image.shape[0]
    half = cv2.resize(image, ((size + 3) // 2,) * 2, interpolation=cv2.INTER_AREA)
    spread = np.zeros((2 * half.shape[0], 2 * half.shape[1], 3), np.float32)
    spread[::2, ::2] = half
    tent = np.array([0.5, 1, 0.5])
    uneven = rng.uniform(*_UNEVEN) * rng.choice([-1, 1], 2)
    kernel = np.outer(tent + [0, uneven[0], 0], tent + [0, uneven[1], 0])
    filtered = cv2.filter2D(spread, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    top, left = rng.integers(2, size=2)
    return filtered[top : top + size, left : left + size]
