"""Four manipulations of aligned real faces, each with an artefact family of its own.

They stand in for a benchmark's manipulations in tests and in the demo. They say nothing about
real deepfakes and share no name with any benchmark's.
"""

import cv2
import numpy as np

from rffr_jax.images.alignment import AlignedFace
from rffr_jax.synthetic.manipulations import (
    lowres_swap,
    mouth_warp,
    polygon_paste,
    texture_upsample,
)
from rffr_jax.synthetic.manipulations.regions import ManipulatedFace

METHODS: tuple[str, ...] = ("lowres_swap", "polygon_paste", "mouth_warp", "texture_upsample")
NEEDS_DONOR: tuple[str, ...] = ("lowres_swap", "polygon_paste")
IDENTITY = "identity"

_APPLY = {
    "lowres_swap": lowres_swap.apply,
    "polygon_paste": polygon_paste.apply,
    "mouth_warp": mouth_warp.apply,
    "texture_upsample": texture_upsample.apply,
}


def manipulate(
    method: str, face: AlignedFace, donor: AlignedFace | None, rng: np.random.Generator
) -> ManipulatedFace:
    """One of METHODS applied to a face, or "identity", which returns it as it is.

    Args:
      method: a name of METHODS, or "identity" for reals and for probes.
      face: any aligned real face, synthetic or photographed, 48 to 512 pixels on a side.
      donor: a face of another identity at the same size; only NEEDS_DONOR use it.
      rng: every random choice comes from it.

    Returns:
      The manipulated image and its mask; where the mask is 0 the pixels equal the face's exactly.

    Raises:
      ValueError: unknown method, or a donor is needed and missing or of another size.
    """
    if method == IDENTITY:
        return ManipulatedFace(face.image, np.zeros(face.image.shape[:2], np.float32))
    if method not in _APPLY:
        raise ValueError(f"manipulation {method!r} is unknown; known: {', '.join(METHODS)}")
    if method in NEEDS_DONOR and (donor is None or donor.size != face.size):
        raise ValueError(f"manipulation {method!r} needs a donor of the face's size")
    made = _APPLY[method](face, donor, rng)
    touched = (made.mask > 0).astype(np.uint8)
    image = cv2.copyTo(made.image.clip(0, 1), touched, face.image.copy())
    return ManipulatedFace(image, made.mask)
