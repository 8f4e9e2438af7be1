"""The frame times of a video without decoding it, and sampled frames of short and long videos.

The packets of a video say when every frame is shown and which frames are keyframes, which can be
decoded by themselves. A long video is sampled at its keyframes. A jump to a keyframe always costs
the same, so three hours take no longer than one.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from rffr_jax.data.selection import evenly_spaced
from rffr_jax.errors import BadImageError
from rffr_jax.faces.frames import (
    Frame,
    convert_frame,
    ffmpeg_error,
    open_video,
    read_frames,
    shows_frame,
)

DECODED_PIXELS = 2 * 10**10
"""Up to so many pixels a whole video is decoded: 5 minutes of 1080p at 30 frames/s."""


@dataclasses.dataclass(frozen=True, eq=False)
class VideoIndex:
    """The frames of a video by their order on the screen.

    Attributes:
      codec: FFmpeg's name, such as `h264`.
      width, height: in pixels, without the rotation.
      stamps: time stamps of the frames, in the units of the stream; empty where there are none.
      keyframes: numbers of the keyframes.
      places: time stamps by which the keyframes are decoded, and found in the file.
      total: number of frames.
      seconds: the duration, 0 where it is not known.
    """

    codec: str
    width: int
    height: int
    stamps: Int64[np.ndarray, " frames"]
    keyframes: Int64[np.ndarray, " keyframes"]
    places: Int64[np.ndarray, " keyframes"]
    total: int
    seconds: float


def index_video(path: str | os.PathLike[str]) -> VideoIndex:
    """Goes through a video's packets once.

    Raises:
      BadImageError, OSError, UserError: as for `frames.read_frames`.
    """
    stamps, places, keys, total = [], [], [], 0
    with open_video(path) as (container, stream):
        with contextlib.suppress(ffmpeg_error()):
            for packet in container.demux(stream):
                if not shows_frame(packet):
                    continue
                total += 1
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None:
                    stamps.append(stamp)
                    places.append(stamp if packet.dts is None else packet.dts)
                    keys.append(packet.is_keyframe)
        order = np.argsort(np.array(stamps, np.int64), kind="stable")
        sorted_stamps = np.array(stamps, np.int64)[order]
        keyframes = np.flatnonzero(np.array(keys, bool)[order])
        seconds = 0.0
        if len(stamps) > 1 and stream.time_base:
            span = float((sorted_stamps[-1] - sorted_stamps[0]) * stream.time_base)
            seconds = span * len(stamps) / (len(stamps) - 1)
        context = stream.codec_context
        return VideoIndex(
            context.name,
            context.width,
            context.height,
            sorted_stamps,
            keyframes,
            np.array(places, np.int64)[order][keyframes],
            total,
            seconds,
        )


def sample_frames(path: str | os.PathLike[str], index: VideoIndex, count: int) -> Iterator[Frame]:
    """About `count` frames spaced evenly over a video, at a bounded cost.

    A video of at most `DECODED_PIXELS` gives the frames of `frames.read_frames`, a longer one the
    nearest keyframes, each once.

    Raises:
      BadImageError, OSError: as for `frames.read_frames`; for a long video only if no keyframe can
        be decoded.
    """
    if index.total * index.width * index.height <= DECODED_PIXELS or not len(index.keyframes):
        yield from read_frames(path, count, photograph=False)
        return
    wanted = np.array(evenly_spaced(range(len(index.stamps)), count))
    nearest = np.abs(index.keyframes - wanted[:, None]).argmin(axis=1)
    last = -1
    for key in np.unique(nearest).tolist():
        frame = _keyframe(path, index, key)
        if frame is not None and frame.index > last:
            last = frame.index
            yield frame
    if last < 0:
        raise BadImageError(os.fspath(path), "damaged: none of its keyframes can be decoded")


def _keyframe(path: str | os.PathLike[str], index: VideoIndex, key: int) -> Frame | None:
    """A keyframe, or the next one that can be decoded; None where there is none.

    Some containers jump to a later place than was asked for, so the jump is to just before it.
    """
    stamp = int(index.stamps[index.keyframes[key]])
    with open_video(path) as (container, stream), contextlib.suppress(ffmpeg_error()):
        stream.codec_context.skip_frame = "NONKEY"
        if key:
            container.seek(int(index.places[key]) - 1, stream=stream)
        for packet in container.demux(stream):
            for frame in packet.decode():
                if frame.is_corrupt or (frame.pts is not None and frame.pts < stamp):
                    continue
                shown = stamp if frame.pts is None else frame.pts
                number = int(np.searchsorted(index.stamps, shown))
                return convert_frame(path, stream, frame, number)
    return None
