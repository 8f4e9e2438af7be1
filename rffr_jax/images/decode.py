"""An encoded image in, uint8 RGB pixels of the size asked for out.

Every image is treated in this order: it is turned as its EXIF orientation says; its colour profile
(or, without one, the code points of its colours, `images.cicp`) is converted to sRGB; it becomes
8-bit RGB (grey is repeated, 16-bit samples keep their high byte, so full scale stays full scale;
palettes and CMYK are converted; where there is transparency the image is laid over black); and,
only when its size differs from the one asked for, it is cut to the largest centred square and
resized by Pillow's bilinear filter, which averages over the whole footprint of an output pixel when
it shrinks (antialiasing). An image that already has the size keeps its decoded pixels untouched.

Pixels count as square. Densities that say otherwise are named and not used: JPEG's standard and
programs disagree about which of the two numbers is the wider side, and viewers ignore them.
"""

import contextlib
import errno
import functools
import io
import os
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from rffr_jax.errors import BadImageError
from rffr_jax.images.cicp import CodePoints, convert_to_srgb, read_code_points

_HEIF = "HEIF"
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF")

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

HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_EXIF_ORIENTATION, _EXIF_X_RESOLUTION, _EXIF_Y_RESOLUTION = 0x0112, 0x011A, 0x011B
_DNG_VERSION, _SUBFILE_TYPE = 50706, 254
_REDUCED, _MASK = 1, 4  # bits of the latter
_PAGES_LOOKED_AT = 8
_ANIMATED = ("AVIF", "PNG", "WEBP")
_WITH_CODE_POINTS = ("AVIF", _HEIF, "PNG")
_SQUARE = 1.02  # ratio of densities that are rounded
_SRGB_PROFILES = ("sRGB", "c2")  # c2 is the short sRGB profile of Facebook's photographs
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
    return _resize_to_square(_read(path, turn=True)[0], size)


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
    return np.array(_read(path, turn=turn)[0])


def read_photograph(
    path: str | os.PathLike[str],
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
    """The pixels of `read_full_image`, and how they were changed; errors are the same.

    Returns:
      RGB in [0, 255]; a text for each change, such as "colour profile Display P3 to sRGB".
    """
    image, conversions = _read(path, turn=True)
    return np.array(image), conversions


def decode_image(data: bytes, size: int, name: str) -> UInt8[np.ndarray, "size size 3"]:
    """Decodes the bytes of an image file.

    Args:
      data: a file of one of `supported_formats`; of several frames the first is taken.
      size: height and width of the result, in pixels.
      name: what the image is called in errors.

    Returns:
      RGB pixels in [0, 255].

    Raises:
      BadImageError: the data are empty, truncated or no image, a side is below `MIN_SIDE` pixels,
        there are more than `MAX_PIXELS` (found before any pixel is decoded), or it is a RAW file or
        a TIFF that begins with a preview.
    """
    return _resize_to_square(_decode(io.BytesIO(data), name, turn=True)[0], size)


def decode_full_image(
    data: bytes, name: str, *, turn: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """As `read_full_image`, of the bytes of an image file that errors call `name`."""
    return np.array(_decode(io.BytesIO(data), name, turn=turn)[0])


def resize_to_square(
    image: UInt8[np.ndarray, "height width 3"], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """RGB pixels at `size` x `size`, by the same rule as a decoded image."""
    return _resize_to_square(Image.fromarray(image), size)


@functools.cache
def supported_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read; HEIF where pillow-heif is installed."""
    try:
        from pillow_heif import (  # pyright: ignore[reportMissingImports]
            register_heif_opener,
        )
    except ImportError:
        return _FORMATS
    register_heif_opener()
    return (*_FORMATS, _HEIF)


def explain_size(width: int, height: int) -> str:
    """The reason why an image or video of this size is not read; '' where it is read."""
    if width * height > MAX_PIXELS:
        return _format_too_many_pixels(f"{width} x {height}")
    if min(width, height) < MIN_SIDE:
        return f"{width} x {height} pixels are too few, a side needs {MIN_SIDE}"
    return ""


def holds_several_pictures(image: Image.Image) -> bool:
    """Whether it is an animation, or a TIFF of several pages that are no previews or masks.

    The pictures that a JPEG or HEIC file holds beside its photograph do not count.

    Args:
      image: as Pillow opened it; a TIFF stands at another page afterwards.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.format in _ANIMATED and getattr(image, "is_animated", False)
    pages = 0
    with contextlib.suppress(EOFError):
        for number in range(_PAGES_LOOKED_AT):
            image.seek(number)
            pages += not image.tag_v2.get(_SUBFILE_TYPE, 0) & (_REDUCED | _MASK)
    return pages > 1


def upright_rgb(image: Image.Image, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """An image of Pillow, upright and as 8-bit sRGB, and the changes of its pixels.

    Args:
      name: what the image is called in errors.

    Raises:
      BadImageError: it is damaged, or its samples are of a kind that is not read.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise _describe_damage(error, name) from None
    orientation = _orientation(image)
    conversions = []
    if orientation != 1:
        image = ImageOps.exif_transpose(image)
        conversions.append(f"turned by EXIF orientation {orientation}")
    image, conversion = _convert_profile(image)
    return _to_rgb(image, name), (*conversions, *conversion)


def _orientation(image: Image.Image) -> int:
    """As EXIF numbers it; 1, upright, where the file gives no number or one without a meaning."""
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    return orientation if orientation in range(2, 9) else 1


def _describe_damage(error: Exception, name: str) -> Exception:
    """A decoder's error as a BadImageError; one of reading and not of decoding as it is."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    reason = " ".join(f"{error}".split()) or type(error).__name__
    return BadImageError(name, f"damaged or truncated image ({reason})")


def _read(path: str | os.PathLike[str], *, turn: bool) -> tuple[Image.Image, tuple[str, ...]]:
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


def _decode(
    stream: io.BytesIO | io.BufferedReader, name: str, *, turn: bool
) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        with Image.open(stream, formats=supported_formats()) as image:
            if problem := explain_size(*image.size) or _explain_preview(image):
                raise BadImageError(name, problem)
            image.load()
            if not turn and _orientation(image) != 1:
                raise BadImageError(
                    name, "its EXIF orientation turns it, so that coordinates in it are unclear"
                )
            colour = read_code_points(stream) if image.format in _WITH_CODE_POINTS else None
            if colour and image.format == "PNG":  # in its standard they go before a profile
                image.info.pop("icc_profile", None)
            rgb, conversions = upright_rgb(image, name)
            if colour and not image.info.get("icc_profile"):
                rgb, conversion = _convert_code_points(rgb, colour, name)
                conversions = (*conversions, *conversion)
            return rgb, (*conversions, *_describe_density(image))
    except (BadImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BadImageError(name, _explain_unknown_format(stream)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError(name, _format_too_many_pixels("its header's number of")) from None
    except Exception as error:
        raise _describe_damage(error, name) from None


def _explain_preview(image: Image.Image) -> str:
    """Why the first picture of a TIFF is not its photograph; '' where it is, and elsewhere."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if _DNG_VERSION in tags:
        return "a RAW file; export it as JPEG or PNG"
    if tags.get(_SUBFILE_TYPE, 0) & _REDUCED:
        return "a RAW file, or a TIFF that begins with a small preview; export it as JPEG or PNG"
    return ""


def _format_too_many_pixels(pixels: str) -> str:
    return f"{pixels} pixels are too many, the limit is {MAX_PIXELS // 10**6} million"


def _explain_unknown_format(stream: io.BytesIO | io.BufferedReader) -> str:
    stream.seek(0)
    head = stream.read(12)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp" and head[8:] in HEIC_BRANDS and _HEIF not in supported_formats():
        return "HEIC photographs are read by pillow-heif; pip install 'rffr-jax[heic]'"
    known = ", ".join(supported_formats())
    return f"not an image of a kind that is read ({known}), or cut off in its header"


def _convert_code_points(
    image: Image.Image, colour: CodePoints, name: str
) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        pixels, conversions = convert_to_srgb(np.asarray(image), colour)
    except ImportError:
        reason = "HDR photographs are tone-mapped by PyAV; pip install 'rffr-jax[faces]'"
        raise BadImageError(name, reason) from None
    return (Image.fromarray(pixels) if conversions else image), conversions


def _describe_density(image: Image.Image) -> tuple[str, ...]:
    """That a file says that its pixels are not square, if it does."""
    exif = image.getexif()
    in_exif = exif.get(_EXIF_X_RESOLUTION), exif.get(_EXIF_Y_RESOLUTION)
    for pair in (*map(image.info.get, ("jfif_density", "dpi", "aspect")), in_exif):
        try:
            x, y = (float(number or 0) for number in pair or (0, 0))
        except (TypeError, ValueError):  # no numbers: nothing is said of the pixels
            continue
        if min(x, y) > 0 and not 1 / _SQUARE < x / y < _SQUARE:
            return (f"pixels taken as square, though the file's densities are {x:.0f} and {y:.0f}",)
    return ()


def _convert_profile(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    profile = image.info.get("icc_profile")
    if not profile:
        return image, ()
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    transform, description = _transform_to_srgb(profile, image.mode)
    if transform is None:
        return image, description
    return ImageCms.applyTransform(image, transform) or image, description


@functools.lru_cache(maxsize=32)
def _transform_to_srgb(
    profile: bytes, mode: str
) -> tuple[ImageCms.ImageCmsTransform | None, tuple[str, ...]]:
    """Converts images of a colour profile; None where there is nothing to do, or no way to."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = " ".join(ImageCms.getProfileDescription(source).split()) or "without a name"
        if name.startswith(_SRGB_PROFILES):
            return None, ()
        target = ImageCms.createProfile("sRGB")
        to = "RGBA" if mode == "RGBA" else "RGB"
        return (
            ImageCms.buildTransform(source, target, mode, to),
            (f"colour profile {name} to sRGB",),
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, ("colour profile not used: it is damaged or of another kind of image",)


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
