"""Pixels of high dynamic range (HLG or PQ) as sRGB-like ones, as a standard screen shows them.

FFmpeg's swscale maps colours and brightness (perceptual intent, diffuse white at 203 cd/m2 of ITU-R
BT.2408). It is given bare pixels: the mastering metadata of a file would darken faces to make room
for highlights that they do not hold.
"""

import threading

import numpy as np
from jaxtyping import UInt8, UInt16

TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer functions of ITU-T H.273 that are tone-mapped."""

BT2020 = 9
_BT709 = 1
_UNSPECIFIED = 2
_FULL_RANGE = 2
# One size for all pictures: swscale computes its table, which takes seconds, anew for each size.
_BLOCK = (256, 512, 3)
_local = threading.local()


def tone_map(
    pixels: UInt16[np.ndarray, "height width 3"], transfer: int, primaries: int
) -> UInt8[np.ndarray, "height width 3"]:
    """HDR pixels as a standard screen shows them.

    Args:
      pixels: RGB in the transfer function, in [0, 65535].
      transfer: one of `TRANSFERS`.
      primaries: by their number in ITU-T H.273; BT.2020 where they are not specified.

    Returns:
      RGB in [0, 255], primaries BT.709.

    Raises:
      ImportError: PyAV is not installed.
    """
    import av
    from av.video.reformatter import VideoReformatter

    reformatters = _local.__dict__.setdefault("reformatters", {})
    primaries = BT2020 if primaries in (0, _UNSPECIFIED) else primaries
    reformatter = reformatters.setdefault((transfer, primaries), VideoReformatter())
    flat = pixels.reshape(-1)
    mapped = np.empty(flat.shape, np.uint8)
    size = int(np.prod(_BLOCK))
    for start in range(0, len(flat), size):
        part = flat[start : start + size]
        block = np.pad(part, (0, size - len(part))).reshape(_BLOCK)
        frame = av.VideoFrame.from_ndarray(block, format="rgb48le")
        frame.color_trc, frame.color_primaries = transfer, primaries
        frame.color_range = _FULL_RANGE
        result = reformatter.reformat(
            frame, format="rgb24", dst_color_trc=_BT709, dst_color_primaries=_BT709
        )
        mapped[start : start + size] = result.to_ndarray().reshape(-1)[: len(part)]
    return mapped.reshape(pixels.shape)
