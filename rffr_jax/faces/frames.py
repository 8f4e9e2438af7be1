"""The frames of a video in one forward pass; a photograph, or a folder of pictures, as a video.

Frames are counted by demuxing: a header may give no number or a wrong one. They are numbered in the
order in which they are shown, whatever their rate. One thread decodes them, one at a time. A video
ends where the decoder meets damage, because later frames cannot be numbered. Only damage that the
container or the decoder reports is known; H.264 conceals the rest.
"""

import contextlib
import dataclasses
import fractions
import io
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import UInt8

from rffr_jax.data.selection import evenly_spaced
from rffr_jax.errors import BadImageError, UserError
from rffr_jax.faces.frame_folder import list_frames
from rffr_jax.images.cicp import CodePoints, convert_to_srgb
from rffr_jax.images.decode import FILE_ERRNOS, explain_size, read_photograph
from rffr_jax.images.file_header import FileHeader, file_ending, read_image_header
from rffr_jax.images.image_formats import IMAGE_EXTENSIONS
from rffr_jax.images.tone_mapping import TRANSFERS

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# FFmpeg reads playlists too, which name other files of this machine.
_SAFE_FORMATS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf"}
_VP8_SHOWN = 0x10  # a bit of a frame's first byte


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
      index: its number, 0 for the first one of a video and for a photograph; in a folder of
        pictures the number that its name ends in (`frame_folder.list_frames`).
      image: RGB, upright, with square pixels.
      time: seconds from the file's start; 0 for pictures, and where the file has no times.
      conversions: changes of the decoded pixels, such as "tone-mapped from HLG".
    """

    index: int
    image: UInt8[np.ndarray, "height width 3"]
    time: float = 0.0
    conversions: tuple[str, ...] = ()


def frame_numbers(path: str | os.PathLike[str]) -> Sequence[int]:
    """The numbers of all frames of a video, a photograph or a folder of pictures, rising.

    Raises:
      BadImageError, OSError: as for `count_frames`; the folder holds no picture.
    """
    if os.path.isdir(path):
        return list(list_frames(path))
    return range(count_frames(path))


def count_frames(path: str | os.PathLike[str], *, photograph: bool | None = None) -> int:
    """The number of frames of a video, at least 1, without decoding it; 1 for a photograph.

    Of a file that is seen to be cut off, it is the number that its header promises.

    Args:
      photograph: as for `read_frames`.

    Raises:
      BadImageError, OSError: as for `read_frames`.
    """
    if _is_photograph(path) if photograph is None else photograph:
        return 1
    whole, damaged = 0, False
    with open_video(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                damaged |= packet.is_corrupt
                whole += shows_frame(packet)
        except ffmpeg_error():
            damaged = True
        total = max(whole, stream.frames) if damaged else whole
    if not total:
        raise BadImageError(os.fspath(path), "it holds no frames")
    return total


def shows_frame(packet: "av.Packet") -> bool:
    """Whether a player shows a frame for a packet; VP8 has hidden ones, to decode others."""
    if not packet.size or packet.is_discard or packet.is_corrupt:
        return False
    codec = packet.stream.codec_context
    return codec.name != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOWN)


def read_frames(
    path: str | os.PathLike[str],
    count: int | None = None,
    indices: Sequence[int] | None = None,
    *,
    photograph: bool | None = None,
    on_bad: Callable[[int, BadImageError], None] | None = None,
) -> Iterator[Frame]:
    """The wanted frames of a video, a photograph or a folder of pictures, one after another.

    Args:
      path: a video, a folder of its frames, or a photograph by its ending
        (`image_formats.IMAGE_EXTENSIONS`).
      count: so many evenly spaced frames, all of them if there are fewer; None is all.
      indices: the numbers of the frames, instead of `count`; those beyond the end are left out, so
        that the numbers of the frames that come tell which.
      photograph: whether it is one; None tells it by the ending.
      on_bad: is told the number of a picture of a folder that cannot be used, and why; None raises
        the error instead.

    Yields:
      The frames by rising number, upright as the video's display matrix or the photograph's EXIF
      orientation says, as a standard screen shows them: HDR is tone-mapped, pixels are square.

    Raises:
      BadImageError: the photograph cannot be used; or the file is no video, holds no frames, has a
        side below `MIN_SIDE` or more than `MAX_PIXELS`, or is damaged or cut off before the last
        wanted frame. The latter is found only after the frames before it have been given out.
      OSError: the fault of the machine and not of the file, such as a failing disk.
      UserError: PyAV is not installed.
    """
    if count is not None and indices is not None:
        raise ValueError("give count or indices, not both")
    if photograph is None and os.path.isdir(path):
        yield from _read_folder(path, count, indices, on_bad)
        return
    if _is_photograph(path) if photograph is None else photograph:
        if indices is None or 0 in indices:
            image, conversions = read_photograph(path)
            yield Frame(0, image, conversions=conversions)
        return
    total = count_frames(path, photograph=False)
    if indices is None:
        wanted = set(evenly_spaced(range(total), count))
    else:
        wanted = {index for index in indices if 0 <= index < total}
    decoded = 0
    with open_video(path) as (container, stream), contextlib.suppress(ffmpeg_error()):
        for frame in _decode(container, stream):
            if not wanted:
                return
            if decoded in wanted:
                wanted.remove(decoded)
                yield convert_frame(path, stream, frame, decoded)
            decoded += 1
    if wanted:
        raise BadImageError(
            os.fspath(path),
            f"damaged or cut off: {decoded} of its {total} frames can be decoded, "
            f"and frame {min(wanted)} is wanted",
        )


def _read_folder(
    folder: str | os.PathLike[str],
    count: int | None,
    indices: Sequence[int] | None,
    on_bad: Callable[[int, BadImageError], None] | None,
) -> Iterator[Frame]:
    pictures = list_frames(folder)
    if indices is None:
        indices = evenly_spaced(list(pictures), count)
    for number in sorted(pictures.keys() & set(indices)):
        try:
            image, conversions = read_photograph(pictures[number])
        except BadImageError as error:
            if on_bad is None:
                raise
            on_bad(number, error)
        else:
            yield Frame(number, image, conversions=conversions)


def read_header(path: str | os.PathLike[str]) -> FileHeader | None:
    """How a video, a photograph or the first picture of a folder was saved.

    None where its head cannot be read.

    Raises:
      OSError, UserError: as for `read_frames`.
    """
    if os.path.isdir(path):
        path = next(iter(list_frames(path).values()))
    if _is_photograph(path):
        return read_image_header(path)
    with contextlib.suppress(BadImageError), open_video(path) as (_, stream):
        codec = stream.codec_context
        return FileHeader(file_ending(path), codec.name, (codec.width, codec.height))
    return None


def _is_photograph(path: str | os.PathLike[str]) -> bool:
    return os.fspath(path).lower().endswith(IMAGE_EXTENSIONS)


def _decode(container: "InputContainer", stream: "VideoStream") -> Iterator["av.VideoFrame"]:
    """The frames up to the first sign of damage."""
    for packet in container.demux(stream):
        for frame in packet.decode():
            if frame.is_corrupt:
                return
            yield frame


def convert_frame(
    path: str | os.PathLike[str], stream: "VideoStream", frame: "av.VideoFrame", index: int
) -> Frame:
    """A decoded frame as a viewer sees it.

    Raises:
      BadImageError: its size is none that is read.
    """
    _check_size(path, frame.width, frame.height)
    colour = CodePoints(int(frame.color_primaries), int(frame.color_trc))
    hdr = colour.transfer in TRANSFERS
    pixels = frame.to_ndarray(format="rgb48le" if hdr else "rgb24")
    image, conversions = convert_to_srgb(pixels, colour)
    aspect = stream.sample_aspect_ratio or 1
    if aspect != 1:
        width = round(frame.width * aspect)
        _check_size(path, width, frame.height)
        image = cv2.resize(image, (width, frame.height), interpolation=cv2.INTER_LINEAR)
        done = f"pixels of aspect {aspect.numerator}:{aspect.denominator} made square"
        conversions = (*conversions, done)
    image, orientation = _orient(image, frame)
    return Frame(index, image, _time(stream, frame), (*conversions, *orientation))


def _time(stream: "VideoStream", frame: "av.VideoFrame") -> float:
    """Seconds from the start of the file, as players count; its sound may begin earlier."""
    if frame.pts is None or not frame.time_base:
        return 0.0
    container: Any = stream.container  # PyAV's stubs do not know that it is one that is read
    start = fractions.Fraction(container.start_time or 0, _import_av().time_base)
    return max(float(frame.pts * frame.time_base - start), 0.0)


def _orient(
    image: UInt8[np.ndarray, "height width 3"], frame: "av.VideoFrame"
) -> tuple[UInt8[np.ndarray, "upright_height upright_width 3"], tuple[str, ...]]:
    """The picture turned and mirrored as the frame's display matrix says, by quarter turns.

    The matrix takes a pixel (x, y) to (a x + c y, b x + d y).
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image, ()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        image = image.transpose(1, 0, 2)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    image = image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    done = (f"turned by {round(frame.rotation / 90) * 90 % 360} degrees",) if frame.rotation else ()
    if a * d - b * c < 0:
        done = ("mirrored and turned by the display matrix",)
    return np.ascontiguousarray(image), done


@contextlib.contextmanager
def open_video(path: str | os.PathLike[str]) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The video's container and its first stream of moving pictures.

    Raises:
      BadImageError, OSError, UserError: as for `read_frames`.
    """
    av = _import_av()
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        # An open file: FFmpeg would take some names for protocols and cannot take others.
        file = stack.enter_context(_open_file(name))
        try:
            container = stack.enter_context(
                av.open(file, "r", options=_SAFE_FORMATS, metadata_errors="ignore")
            )
        except ffmpeg_error():
            raise BadImageError(
                name, "not a video of a kind that is read, or cut off in its header"
            ) from None
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            raise BadImageError(name, "there is no video stream in it")
        stream = streams[0]
        if stream.codec_context is None:
            raise BadImageError(name, "its video stream is of a kind that FFmpeg cannot decode")
        stream.codec_context.thread_count = 1  # the work is shared out by files
        if stream.codec_context.width:
            _check_size(path, stream.codec_context.width, stream.codec_context.height)
        yield container, stream


@contextlib.contextmanager
def _open_file(name: str) -> Iterator[io.BufferedReader]:
    """The file; errors met when it is opened or read tell its name, whoever reads."""
    try:
        try:
            opened = open(name, "rb")  # noqa: SIM115
        except ValueError as error:  # a name that no file can have
            raise BadImageError(name, str(error)) from None
        with opened as file:
            if not file.peek(1):
                raise BadImageError(name, "the file is empty")
            yield file
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FILE_ERRNOS:
            raise BadImageError(name, reason.lower()) from None
        raise OSError(error.errno, reason, name) from error


def _check_size(path: str | os.PathLike[str], width: int, height: int) -> None:
    if problem := explain_size(width, height):
        raise BadImageError(os.fspath(path), problem)


def ffmpeg_error() -> type[Exception]:
    """The error that PyAV raises where FFmpeg fails."""
    return _import_av().error.FFmpegError


def _import_av():
    try:
        import av
        import av.error
        import av.stream
    except ImportError:
        raise UserError("videos are read by PyAV; pip install 'rffr-jax[faces]'") from None
    return av
