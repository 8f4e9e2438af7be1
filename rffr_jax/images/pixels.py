"""Images that a caller gives from memory, checked and as RGB pixels."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from rffr_jax.errors import BadImageError, UserError
from rffr_jax.images.decode import MIN_SIDE, upright_rgb


def rgb_pixels(image: object, name: str = "image") -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of an image in memory.

    Args:
      image: uint8 RGB [height, width, 3] in [0, 255], or an image of Pillow, which is turned as its
        EXIF orientation says.
      name: what the image is called in errors.

    Raises:
      UserError: something else, a damaged file, or a side of less than `MIN_SIDE` pixels.
    """
    if isinstance(image, Image.Image):
        try:
            pixels = np.asarray(upright_rgb(image, name)[0])
        except BadImageError as error:
            hint = "give a whole image, converted with image.convert('RGB')"
            raise UserError(f"{error}; {hint}") from None
    else:
        pixels = _array(image, name)
    height, width, _ = pixels.shape
    if min(height, width) < MIN_SIDE:
        raise UserError(f"{name} is {width} x {height} pixels; give at least {MIN_SIDE} on a side")
    return pixels


def _array(image: object, name: str) -> UInt8[np.ndarray, "height width 3"]:
    wanted = "give uint8 RGB pixels in [0, 255] of shape [height, width, 3]"
    if image is None:
        raise UserError(f"{name} is None, as cv2.imread returns for an unreadable file; {wanted}")
    if isinstance(image, (str, bytes, os.PathLike)):
        raise UserError(f"{name} is the path {os.fsdecode(image)!r}, not an image; {wanted}")
    try:
        array = np.asarray(image)
    except ValueError:  # lists of different lengths
        raise UserError(f"{name} is no image but a {type(image).__name__}; {wanted}") from None
    if array.dtype != np.uint8:
        hint = ""
        if array.dtype.kind == "f":
            hint = "; values in [0, 1] become that by (255 * image).round().astype('uint8')"
        raise UserError(f"{name} is {array.dtype} of shape {array.shape}; {wanted}{hint}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise UserError(f"{name} is uint8 of shape {array.shape}; {wanted}")
    return array
