"""A copy of a video with a box around every face: its running score, or `unknown` in grey."""

import bisect
import fractions
import functools
import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.faces.frames import read_frames
from rffr_jax.predict.video_index import DECODED_PIXELS, index_video, sample_frames
from rffr_jax.reports.contact_sheet import load_font
from rffr_jax.runs.atomic_files import atomic_write

LONGEST_SIDE = 1280
"""In pixels; larger frames are made smaller."""

LONGEST_STEP = 60.0
"""Seconds from one frame to the next, at most; damaged time stamps have longer steps."""

_TICKS = 90_000  # of a second
_FAST = {"preset": "veryfast"}
_COLOURS = "RdYlGn_r"  # the middle is the threshold
_UNKNOWN_COLOUR = (128, 128, 128)

Box = tuple[float, float, float, float]


def annotate_video(
    path: pathlib.Path,
    source: pathlib.Path,
    record: Mapping[str, Any],
    threshold: float,
    *,
    video_score: VideoScore,
    band: str,
):
    """Writes an annotated mp4 (H.264) of a video.

    A video of up to `DECODED_PIXELS` keeps all frames and their times; a step back in time, or one
    above `LONGEST_STEP`, is shortened. A longer video shows its scored frames, a second each. All
    frames have the size of the first. The running score is that of the frames scored until then.

    Args:
      path: of the mp4.
      source: of the video.
      record: its entry of `files` in predictions.json, with at least one face.
      threshold: the middle of the boxes' colours.
      video_score: how the score of a face is formed, and from how many frames.
      band: a text below the frames.

    Raises:
      BadImageError: the video cannot be decoded to its end.
      OSError, av.FFmpegError: it cannot be written.
    """
    import av

    facts = record["source"]
    whole = facts["frames"] * facts["width"] * facts["height"] <= DECODED_PIXELS
    looked_at = facts["frames_looked_at"]
    rate = fractions.Fraction(1)
    if whole and facts["seconds"] > 0:
        rate = fractions.Fraction(facts["frames"] / facts["seconds"]).limit_denominator(1001)
    if whole:
        frames = read_frames(source, photograph=False)
    else:
        frames = sample_frames(source, index_video(source), video_score.frames)
    faces = record["faces"]
    scores = {face["face"]: _running_scores(face["frames"], video_score) for face in faces}
    reach = math.ceil(facts["frames"] / looked_at) / 2
    with atomic_write(path) as part, av.open(str(part), "w", format="mp4") as container:
        stream, below = None, np.zeros((0, 0, 3), np.uint8)
        stamp, before = 0, 0
        for number, frame in enumerate(frames):
            scale = min(1.0, LONGEST_SIDE / max(frame.image.shape[:2]))
            image = _shrink(frame.image, scale)
            _draw_faces(image, faces, scores, frame.index, reach, scale, threshold)
            if stream is None:
                below = _text_band(band, image.shape[1])
                stream = container.add_stream("libx264", rate=rate, options=_FAST)
                stream.height, stream.width = len(image) + len(below), image.shape[1]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = fractions.Fraction(1, _TICKS)
            height = stream.height - len(below)
            picture = np.concatenate([_resize(image, stream.width, height), below])
            shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
            seconds = frame.time if whole and facts["seconds"] > 0 else float(number / rate)
            there = round(seconds * _TICKS)
            stamp += min(max(there - before, min(number, 1)), round(LONGEST_STEP * _TICKS))
            before = there
            shown.pts, shown.time_base = stamp, fractions.Fraction(1, _TICKS)
            container.mux(stream.encode(shown))
        if stream is not None:
            container.mux(stream.encode())


def interpolate_box(frames: Sequence[Mapping[str, Any]], number: int, reach: float) -> Box | None:
    """The box of a face in any frame, from its boxes in the searched frames.

    Args:
      frames: `faces[].frames` or `faces[].not_judged` of predictions.json.
      number: of the frame.
      reach: half the distance between searched frames. Between two of them the box is
        interpolated; it also stays for `reach` frames before and after.

    Returns:
      None where the face was not seen.
    """
    if not frames:
        return None
    numbers = [frame["frame"] for frame in frames]
    after = bisect.bisect_left(numbers, number)
    if 0 < after < len(frames) and numbers[after] - numbers[after - 1] <= 3 * reach:
        share = (number - numbers[after - 1]) / (numbers[after] - numbers[after - 1])
        pair = zip(frames[after - 1]["box"], frames[after]["box"], strict=True)
        left, top, right, bottom = ((1 - share) * a + share * b for a, b in pair)
        return left, top, right, bottom
    near = min(range(len(frames)), key=lambda i: abs(numbers[i] - number))
    if abs(numbers[near] - number) > reach:
        return None
    left, top, right, bottom = frames[near]["box"]
    return left, top, right, bottom


def running_score(
    frames: Sequence[Mapping[str, Any]], number: int, video_score: VideoScore
) -> float:
    """The score of a face from its frames up to a number, or from the first one."""
    known = [frame["score"] for frame in frames if frame["frame"] <= number]
    return video_score.score(np.array(known or [frames[0]["score"]], np.float64))


def _running_scores(frames: Sequence[Mapping[str, Any]], video_score: VideoScore) -> list[float]:
    return [running_score(frames, frame["frame"], video_score) for frame in frames]


def _shrink(image: UInt8[np.ndarray, "h w 3"], scale: float) -> UInt8[np.ndarray, "height width 3"]:
    """With even sides, which H.264 needs; a last odd row or column is doubled."""
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # A copy, which is drawn on: some decoders make the next frame of this one.
    return image.copy()


def _resize(
    image: UInt8[np.ndarray, "h w 3"], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in the size of the first one; some streams change the size."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _draw_faces(
    image: UInt8[np.ndarray, "height width 3"],
    faces: Sequence[Mapping[str, Any]],
    scores: Mapping[int, Sequence[float]],
    number: int,
    reach: float,
    scale: float,
    threshold: float,
):
    """Draws the boxes of a frame.

    Args:
      scores: of each face, its running score at each of its frames.
    """
    height, width = image.shape[:2]
    for face in faces:
        box = _face_box(face, face["frames"], number, reach)
        if box is not None:
            until = bisect.bisect_right(face["frames"], number, key=lambda f: f["frame"])
            score = scores[face["face"]][max(0, until - 1)]
            text, colour = f"face {face['face']}: {score:.2f}", _colour(score, threshold)
        else:
            box = _face_box(face, face["not_judged"], number, reach)
            text, colour = f"face {face['face']}: unknown", _UNKNOWN_COLOUR
        if box is None:
            continue
        sides = (width - 1, height - 1) * 2
        left, top, right, bottom = (
            int(np.clip(edge * scale, 0, side)) for edge, side in zip(box, sides, strict=True)
        )
        if right <= left or bottom <= top:
            continue
        _draw_outline(
            image[top : bottom + 1, left : right + 1], colour, thickness=max(2, width // 300)
        )
        label = _label(text, _font_size(width))
        place = image[max(0, top - len(label)) :, left:][: len(label), : label.shape[1]]
        place[:] = label[: len(place), : place.shape[1]]


def _draw_outline(
    area: UInt8[np.ndarray, "height width 3"], colour: tuple[int, int, int], thickness: int
):
    area[:thickness] = area[-thickness:] = colour
    area[:, :thickness] = area[:, -thickness:] = colour


@functools.lru_cache(maxsize=256)
def _label(text: str, size: int) -> UInt8[np.ndarray, "height width 3"]:
    """White on black."""
    font = load_font(size)
    left, top, right, bottom = map(int, font.getbbox(text))
    canvas = Image.new("RGB", (right - left + 6, bottom - top + 6), "black")
    ImageDraw.Draw(canvas).text((3 - left, 3 - top), text, fill="white", font=font)
    return np.asarray(canvas)


def _face_box(
    face: Mapping[str, Any], frames: Sequence[Mapping[str, Any]], number: int, reach: float
) -> Box | None:
    """As `interpolate_box`; the whole frame where crops were given."""
    if face["box"] is None:
        frames = [{**frame, "box": (0.0, 0.0, 1e9, 1e9)} for frame in frames]
    return interpolate_box(frames, number, reach)


@functools.lru_cache(maxsize=256)
def _colour(score: float, threshold: float) -> tuple[int, int, int]:
    """Green far below the threshold, red far above it."""
    share = (
        score / threshold / 2
        if score <= threshold and threshold > 0
        else (1 - (1 - score) / max(1 - threshold, 1e-9) / 2)
    )
    red, green, blue, _ = matplotlib.colormaps[_COLOURS](float(np.clip(share, 0, 1)), bytes=True)
    return int(red), int(green), int(blue)


def _text_band(text: str, width: int) -> UInt8[np.ndarray, "height width 3"]:
    size = _font_size(width)
    lines = textwrap.wrap(text, max(10, int(width / (0.55 * size))))
    height = len(lines) * (size + 4) + 8
    canvas = Image.new("RGB", (width, height + height % 2), "black")
    draw, font = ImageDraw.Draw(canvas), load_font(size)
    for number, line in enumerate(lines):
        draw.text((4, 4 + number * (size + 4)), line, fill="white", font=font)
    return np.asarray(canvas)


def _font_size(width: int) -> int:
    return max(11, width // 50)
