"""Code points of colours (CICP, ITU-T H.273): they are read, and pixels become sRGB by them.

Videos, AVIF, HEIC and PNG name primaries and a transfer function by numbers. HDR is tone-mapped.
Wide primaries become sRGB's, which are those of BT.709: a matrix converts linear light, and colours
outside of sRGB are clipped. Transfer functions of standard dynamic range (BT.709, BT.2020 and their
like) count as sRGB's, because screens show them so.
"""

import functools
import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from rffr_jax.images.tone_mapping import BT2020, TRANSFERS, tone_map

_STANDARD_TRANSFERS = (0, 1, 2, 4, 6, 7, 11, 13, 14, 15)  # 0 and 2 say nothing
_NARROW_PRIMARIES = (0, 1, 2, 5, 6, 7)  # BT.709, television's before it, or nothing said
_DISPLAY_P3 = 12
# x, y of red, green and blue; white is D65 for all.
_CHROMATICITIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    _DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_WHITE = (0.3127, 0.3290)
WIDE_PRIMARIES = {BT2020: "BT.2020", _DISPLAY_P3: "Display P3"}
"""Primaries of standard dynamic range that are converted, by their code points."""

_PNG = b"\x89PNG\r\n\x1a\n"
_ROWS = 256  # that are converted at once
_LEVELS = 4096  # of linear light, in the table that encodes it; errors stay below one grey level


class CodePoints(NamedTuple):
    """Primaries and transfer function, as numbers of ITU-T H.273."""

    primaries: int
    transfer: int


def convert_to_srgb(
    pixels: UInt8[np.ndarray, "height width 3"] | UInt16[np.ndarray, "height width 3"],
    colour: CodePoints,
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[str, ...]]:
    """RGB pixels as sRGB, and what was done; what is not known is said and left.

    Args:
      pixels: in the transfer function and primaries that `colour` names, of the full range of
        their type; 16 bits only for HDR.
      colour: of the file.

    Raises:
      ImportError: HDR, and PyAV is not installed.
    """
    if name := TRANSFERS.get(colour.transfer):
        wide = pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * 257
        return tone_map(wide, colour.transfer, colour.primaries), (f"tone-mapped from {name}",)
    done = ()
    if colour.transfer not in _STANDARD_TRANSFERS:
        done = (f"transfer function {colour.transfer} of H.273 taken as sRGB's",)
    if name := WIDE_PRIMARIES.get(colour.primaries):
        return _convert_primaries(pixels, colour.primaries), (*done, f"primaries {name} to sRGB")
    if colour.primaries not in _NARROW_PRIMARIES:
        done = (*done, f"primaries {colour.primaries} of H.273 taken as sRGB's")
    return pixels, done


def _convert_primaries(
    pixels: UInt8[np.ndarray, "height width 3"], primaries: int
) -> UInt8[np.ndarray, "height width 3"]:
    matrix = np.linalg.inv(_rgb_to_xyz(1)) @ _rgb_to_xyz(primaries)
    linear, encoded = _srgb_tables()
    converted = np.empty_like(pixels)
    for start in range(0, len(pixels), _ROWS):
        light = linear[pixels[start : start + _ROWS]] @ matrix.T.astype(np.float32)
        levels = np.sqrt(light.clip(0, 1)) * (_LEVELS - 1)
        converted[start : start + _ROWS] = encoded[np.rint(levels).astype(np.uint16)]
    return converted


@functools.cache
def _srgb_tables() -> tuple[Float32[np.ndarray, "256"], UInt8[np.ndarray, " levels"]]:
    """Linear light of each byte; the byte of each level, levels rising with the root of light."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = (np.arange(_LEVELS) / (_LEVELS - 1)) ** 2
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return linear.astype(np.float32), np.rint(encoded * 255).astype(np.uint8)


def _rgb_to_xyz(primaries: int) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in _CHROMATICITIES[primaries]]).T
    x, y = _WHITE
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])


def read_code_points(stream: io.BufferedIOBase) -> CodePoints | None:
    """The code points in a file of PNG (`cICP`) or of AVIF or HEIC (`nclx`); None without any."""
    stream.seek(0)
    try:
        if stream.read(len(_PNG)) == _PNG:
            return _read_png(stream)
        stream.seek(0)
        return _read_heif(stream.read())
    except (struct.error, IndexError):  # cut off; who decodes the pixels says so
        return None


def _read_png(stream: io.BufferedIOBase) -> CodePoints | None:
    while True:
        length, kind = struct.unpack(">I4s", stream.read(8))
        if kind == b"cICP":
            return CodePoints(*struct.unpack("BB", stream.read(2)))
        if kind == b"IDAT":
            return None
        stream.seek(length + 4, io.SEEK_CUR)


def _read_heif(data: bytes) -> CodePoints | None:
    """Of the primary item: others, such as gain maps, have colours of their own."""
    meta = dict(_boxes(data)).get(b"meta", b"")
    inside = dict(_boxes(meta[4:]))
    item = inside.get(b"pitm", b"")
    (primary,) = struct.unpack_from(">I" if item[0] else ">H", item, 4)
    properties = list(_boxes(inside.get(b"iprp", b"")))
    contents = list(_boxes(dict(properties).get(b"ipco", b"")))
    for kind, table in properties:
        for number in _associations(table, primary) if kind == b"ipma" else ():
            kind_there, content = contents[number - 1]
            if kind_there == b"colr" and content.startswith(b"nclx"):
                return CodePoints(*struct.unpack_from(">HH", content, 4))
    return None


def _associations(table: bytes, item: int) -> list[int]:
    """The numbers of an item's properties, from 1."""
    item_format, property_format = ">I" if table[0] else ">H", ">H" if table[3] & 1 else ">B"
    (entries,) = struct.unpack_from(">I", table, 4)
    place = 8
    for _ in range(entries):
        (there,) = struct.unpack_from(item_format, table, place)
        place += struct.calcsize(item_format)
        count, size = table[place], struct.calcsize(property_format)
        numbers = struct.unpack_from(f">{count}{property_format[1]}", table, place + 1)
        place += 1 + count * size
        if there == item:
            essential = 1 << (8 * size - 1)
            return [number & ~essential for number in numbers if number & ~essential]
    return []


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that follow each other in an ISO base media file."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        size = size or len(data) - place
        if size < head:
            return
        yield kind, data[place + head : place + size]
        place += size
