"""An encoded image in, uint8 RGB pixels of the size asked for out.

What is done to every image, in this order: it is turned as its EXIF orientation says; converted to
8-bit RGB (grey is repeated, 16-bit samples keep their high byte, so full scale stays full scale;
palettes and CMYK are converted, colour profiles are not read; where there is transparency the
image is laid over black); and, only when its size differs from the one asked for, cut to the
largest centred square and resized by Pillow's bilinear filter, which averages over the whole
footprint of an output pixel when it shrinks (antialiasing). An image that already has the size
keeps its decoded pixels untouched.
"""

import errno
import io
import os
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from rffr_jax.errors import BadImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff")

MIN_SIDE = 16
MAX_PIXELS = 80_000_000  # below the limit at which Pillow itself begins to complain

FILE_ERRNOS = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)
"""Numbers of errors that lie in a file or its name; those of a machine or its disks may pass."""

_EXIF_ORIENTATION = 0x0112
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")

# Not around each decode: warnings.catch_warnings is not safe among threads before Python 3.14.
warnings.filterwarnings("ignore", module=r"PIL\b")


def read_image(path: str | os.PathLike[str], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Reads an image file.

    Args:
      path: the file.
      size: height and width of the result, in pixels.

    Returns:
      RGB pixels in [0, 255].

    Raises:
      BadImageError: there is no such file, or `decode_image` would refuse its content.
      OSError: the fault of the machine and not of the file, such as a failing disk.
    """
    return _resize_to_square(_read(path, turn=True), size)


def read_full_image(
    path: str | os.PathLike[str], *, turn: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """Reads an image file at its own size, nothing cut off.

    Args:
      path: the file.
      turn: as its EXIF orientation says; False refuses an image that would have to be turned, for
        use with coordinates in it.

    Returns:
      RGB pixels in [0, 255].

    Raises:
      BadImageError: as for `read_image`, or the image is not upright and must not be turned.
      OSError: as for `read_image`.
    """
    return np.array(_read(path, turn=turn))


def decode_image(data: bytes, size: int, name: str) -> UInt8[np.ndarray, "size size 3"]:
    """Decodes the bytes of an image file.

    Args:
      data: a JPEG, PNG, WebP, BMP or TIFF file; of several frames the first is taken.
      size: height and width of the result, in pixels.
      name: what the image is called in errors.

    Returns:
      RGB pixels in [0, 255].

    Raises:
      BadImageError: the data are empty, truncated or no image, a side is below `MIN_SIDE` pixels,
        or there are more than `MAX_PIXELS` (found before any pixel is decoded).
    """
    return _resize_to_square(_decode(io.BytesIO(data), name, turn=True), size)


def resize_to_square(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """RGB pixels at `size` x `size`, by the same rule as a decoded image."""
    return _resize_to_square(Image.fromarray(image), size)


def _read(path: str | os.PathLike[str], *, turn: bool) -> Image.Image:
    name = os.fspath(path)
    try:
        with open(path, "rb") as stream:
            return _decode(stream, name, turn=turn)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FILE_ERRNOS:
            raise BadImageError(name, reason.lower()) from None
        raise OSError(error.errno, reason, name) from error
    except ValueError as error:  # a name that no file can have
        raise BadImageError(name, str(error)) from None


def _decode(stream: io.BytesIO | io.BufferedReader, name: str, *, turn: bool) -> Image.Image:
    try:
        with Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImageError(name, _format_too_many_pixels(f"{width} x {height}"))
            if min(width, height) < MIN_SIDE:
                raise BadImageError(
                    name, f"{width} x {height} pixels are too few, a side needs {MIN_SIDE}"
                )
            image.load()
            if not turn and not _is_upright(image):
                raise BadImageError(
                    name, "its EXIF orientation turns it, so that coordinates in it are unclear"
                )
            return upright_rgb(image, name)
    except (BadImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImageError(name, _explain_unknown_format(stream)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(name, _format_too_many_pixels("its header's number of")) from None
    except Exception as error:  # a broken file makes decoders raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # of reading, not of decoding
            raise
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise BadImageError(name, f"damaged or truncated image ({reason})") from None


def _format_too_many_pixels(pixels: str) -> str:
    return f"{pixels} pixels are too many, the limit is {MAX_PIXELS // 10**6} million"


def _explain_unknown_format(stream: io.BytesIO | io.BufferedReader) -> str:
    stream.seek(0)
    if not stream.read(1):
        return "the file is empty"
    return f"not an image of a kind that is read ({', '.join(FORMATS)}), or cut off in its header"


def _is_upright(image: Image.Image) -> bool:
    return image.getexif().get(_EXIF_ORIENTATION, 1) == 1


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """An image of Pillow, turned as its EXIF orientation says, in 8-bit RGB.

    Args:
      name: what the image is called in errors.

    Raises:
      BadImageError: its samples are of a kind that is not read.
    """
    return _to_rgb(image if _is_upright(image) else ImageOps.exif_transpose(image), name)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in _SIXTEEN_BIT_MODES:
        high_byte = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high_byte).convert("RGB")
    if image.mode not in _EIGHT_BIT_MODES:
        raise BadImageError(
            name, f"samples of Pillow's kind '{image.mode}' are not read, save 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")


def _resize_to_square(image: Image.Image, size: int) -> np.ndarray:
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=square)
    return np.array(image)
