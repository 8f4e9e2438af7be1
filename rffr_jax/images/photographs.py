"""Photographs in files as aligned faces: what the manipulations are made from."""

import pathlib

import numpy as np
from jaxtyping import Float32

from rffr_jax.errors import BadImageError
from rffr_jax.images.alignment import AlignedFace, align, face_from_aligned_crop
from rffr_jax.images.decode import read_full_image

SMALLEST_SIDE = 48


def read_aligned_face(
    path: pathlib.Path, landmarks: Float32[np.ndarray, "5 2"] | None, size: int
) -> AlignedFace:
    """The face of a photograph.

    Args:
      path: the file.
      landmarks: x, y of its five points in pixels of the picture; None for a crop
        that is already aligned.
      size: side in pixels of the crop that is cut out around landmarks; an aligned crop keeps its
        own size.

    Raises:
      BadImageError: the file is no usable image, is too small, is not square and has no landmarks,
        or is turned by its EXIF data and has landmarks: nobody can tell whether they were found
        before or after turning.
    """
    pixels = read_full_image(path, turn=landmarks is None)
    height, width, _ = pixels.shape
    if min(height, width) < SMALLEST_SIDE:
        raise BadImageError(
            str(path), f"{width} x {height} pixels; at least {SMALLEST_SIDE} are needed on a side"
        )
    image = pixels.astype(np.float32) / 255
    if landmarks is not None:
        return align(image, landmarks, size)
    if height != width:
        raise BadImageError(
            str(path), f"{width} x {height} pixels, not square: align it or give its landmarks"
        )
    return face_from_aligned_crop(image)
