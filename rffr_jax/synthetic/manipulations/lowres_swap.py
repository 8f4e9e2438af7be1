"""Another identity's inner face at low resolution, matched in colour and widely feathered.

Artefact: within the face the finest scales are missing. There is no sharp edge and no shift of
colour.
"""

import cv2
import numpy as np

from rffr_jax.images.alignment import AlignedFace
from rffr_jax.synthetic.manipulations.regions import (
    ManipulatedFace,
    align_donor,
    blend,
    ellipse_points,
    feather,
    polygon_mask,
)

_RESOLUTION = (0.2, 0.4)  # of the round trip, as a share of the image's
_FEATHER = 0.022  # of the face's scale


def apply(
    face: AlignedFace, donor: AlignedFace | None, rng: np.random.Generator
) -> ManipulatedFace:
    """Swaps the inner face for the donor's after a 20-40 % resolution round trip.

    Args:
      face: the face to change.
      donor: the other identity, an image of the same size.
      rng: draws the resolution and the region.

    Returns:
      The blend, and the feathered mask with which it was made.
    """
    assert donor is not None
    region = ellipse_points(
        0.5, 0.6 + rng.uniform(-0.01, 0.01), rng.uniform(0.17, 0.2), rng.uniform(0.19, 0.22), 32
    )
    mask = feather(polygon_mask(face, region), _FEATHER * face.scale)
    inner = _round_trip(align_donor(donor, face), rng.uniform(*_RESOLUTION))
    inner = _match_lab(inner, face.image, mask)
    return ManipulatedFace(blend(face.image, inner, mask), mask)


def _round_trip(image: np.ndarray, share: float) -> np.ndarray:
    size = image.shape[0]
    small = max(4, round(size * share))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _match_lab(image: np.ndarray, like: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` with the mean and spread of `like` within the mask, channel by channel in LAB
    (Reinhard et al., 2001)."""
    inside = (mask > 0.5).astype(np.uint8)
    lab, wanted = (cv2.cvtColor(picture, cv2.COLOR_RGB2LAB) for picture in (image, like))
    mean, spread = cv2.meanStdDev(lab, mask=inside)
    wanted_mean, wanted_spread = cv2.meanStdDev(wanted, mask=inside)
    gain = np.clip(wanted_spread / (spread + 1e-3), 0.6, 1.6)
    offset = wanted_mean - gain * mean
    matched = cv2.transform(lab, np.concatenate([np.diag(gain[:, 0]), offset], 1))
    return cv2.cvtColor(matched, cv2.COLOR_LAB2RGB).clip(0, 1)
