"""Which face is followed where a video shows several.

Faces of successive frames are joined to tracks by the overlap of their boxes, greedily: the pair of
a track and a face with the largest intersection over union first. A track waits where its face is
not seen. The track whose boxes have the largest summed area is followed: a face that is big and
there for long. In a single picture that is the biggest face.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from rffr_jax.faces.face import Face

MIN_OVERLAP = 0.2  # low, because the frames of a video may lie a second apart


def follow(faces: Sequence[Sequence[Face]], min_side: int = 32) -> list[Face | None]:
    """The face that is followed through the frames of a video.

    Args:
      faces: those of each frame, in time.
      min_side: faces whose box has a shorter side below it are not taken, in pixels.

    Returns:
      The face in each frame, None where it is not to be seen.
    """
    tracks: list[dict[int, Face]] = []
    for number, there in enumerate(faces):
        free = [face for face in there if _shorter_side(face) >= min_side]
        lasts = [next(reversed(track.values())) for track in tracks]
        pairs = [
            (overlap, t, f)
            for t, last in enumerate(lasts)
            for f, face in enumerate(free)
            if (overlap := intersection_over_union(last.box, face.box)) >= MIN_OVERLAP
        ]
        joined: set[int] = set()
        for _, t, f in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if number not in tracks[t] and f not in joined:
                tracks[t][number] = free[f]
                joined.add(f)
        tracks += [{number: face} for f, face in enumerate(free) if f not in joined]
    if not tracks:
        return [None] * len(faces)
    followed = max(tracks, key=lambda track: sum(_area(face.box) for face in track.values()))
    return [followed.get(number) for number in range(len(faces))]


def intersection_over_union(
    box: Float32[np.ndarray, "4"], other: Float32[np.ndarray, "4"]
) -> float:
    """The common area of two boxes (left, top, right, bottom) over the area of both together."""
    left, top = np.maximum(box[:2], other[:2])
    right, bottom = np.minimum(box[2:], other[2:])
    common = max(0.0, float(right - left)) * max(0.0, float(bottom - top))
    return common / (_area(box) + _area(other) - common)


def _area(box: Float32[np.ndarray, "4"]) -> float:
    return float(box[2] - box[0]) * float(box[3] - box[1])


def _shorter_side(face: Face) -> float:
    left, top, right, bottom = face.box
    return float(min(right - left, bottom - top))
