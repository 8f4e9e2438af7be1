"""Which of several faces was manipulated: the one under the mask, or unlike the original.

The record of a fake shows the manipulated face. The record of a real shows the same person, whose
face is manipulated in a fake of it. A mask and a fake have the frame numbers and the geometry of
the original, so one rule serves both; a mask of another size is scaled, one of another shape tells
nothing. Each face has a sum over frames: the mean of the mask (or of the difference between fake
and original) inside its box, less the median of the frame. The face with the highest sum is chosen
if that sum is `CLEAR` times the next one and `CLEAR` times `NOISE` a frame.
"""

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from rffr_jax.errors import BadImageError
from rffr_jax.faces.face import Face
from rffr_jax.faces.frames import Frame, read_frames

MASK, DIFFERENCE, LARGEST = "mask", "difference", "largest"
CLEAR = 1.5
NOISE = 1.0  # of 255 grey levels
STRETCH = 1.02  # of a mask that is scaled, at most

Track = Mapping[int, Face]
"""The face of one person, by the place of the frame among the frames that were taken."""


def choose_face(
    tracks: Sequence[Track],
    numbers: Sequence[int],
    medium: pathlib.Path,
    counterpart: pathlib.Path | None,
    mask: pathlib.Path | None,
) -> tuple[Track, str]:
    """The track of the manipulated face, and what it was told by.

    Args:
      tracks: at least one; the largest first, which is taken where nothing tells.
      numbers: of the frames that were taken.
      medium: the video or photograph.
      counterpart: of a fake its original, of a real a fake of it; None where there is none.
      mask: the video or image of the fake's mask; None where there is none.

    Returns:
      The track; `MASK`, `DIFFERENCE` or `LARGEST`.
    """
    evidence = {}
    if mask is not None:
        evidence[MASK] = _scaled_masks(medium, mask, numbers)
    if counterpart is not None:
        evidence[DIFFERENCE] = _differences(medium, counterpart, numbers)
    for how, changes in evidence.items():
        if len(tracks) > 1 and (best := _most_changed(tracks, numbers, changes)) is not None:
            return best, how
    return tracks[0], LARGEST


def _differences(
    medium: pathlib.Path, counterpart: pathlib.Path, numbers: Sequence[int]
) -> Iterator[Frame]:
    """Of the frames that both have."""
    others = _readable_frames(counterpart, numbers)
    other = next(others, None)
    for one in _readable_frames(medium, numbers):
        while other and other.index < one.index:
            other = next(others, None)
        if other is None or one.image.shape != other.image.shape:
            return
        if one.index == other.index:
            yield Frame(one.index, cv2.absdiff(one.image, other.image))


def _scaled_masks(
    medium: pathlib.Path, mask: pathlib.Path, numbers: Sequence[int]
) -> Iterator[Frame]:
    """The frames of a mask at the size of the medium's; none of another shape."""
    shown = next(_readable_frames(medium, numbers[:1]), None)
    if shown is None:
        return
    height, width = shown.image.shape[:2]
    for frame in _readable_frames(mask, numbers):
        rows, columns = frame.image.shape[:2]
        if not 1 / STRETCH < columns * height / (rows * width) < STRETCH:
            return
        scaled = cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_NEAREST)
        yield Frame(frame.index, scaled)


def _readable_frames(path: pathlib.Path, numbers: Sequence[int]) -> Iterator[Frame]:
    """The wanted frames, as far as the file can be read; a bad picture of a folder is left out."""
    with contextlib.suppress(BadImageError):
        yield from read_frames(path, indices=numbers, on_bad=lambda number, error: None)


def _most_changed(
    tracks: Sequence[Track], numbers: Sequence[int], changes: Iterable[Frame]
) -> Track | None:
    """The track whose boxes hold the clearly largest change; None where there is none."""
    places = {number: place for place, number in enumerate(numbers)}
    sums, noise = np.zeros(len(tracks)), 0.0
    for change in changes:
        noise += NOISE
        pixels = change.image.max(axis=2)
        background = float(np.median(pixels))
        height, width = pixels.shape
        for i, track in enumerate(tracks):
            if (face := track.get(places[change.index])) is None:
                continue
            left, top, right, bottom = np.rint(face.box).astype(int).clip(0)
            inside = pixels[top : min(bottom + 1, height), left : min(right + 1, width)]
            if inside.size:
                sums[i] += max(0.0, float(inside.mean()) - background)
    best, second = np.argsort(-sums)[:2]
    return tracks[best] if sums[best] > CLEAR * max(sums[second], noise) else None
