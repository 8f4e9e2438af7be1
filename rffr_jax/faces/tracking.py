"""The faces of a video, each followed through its frames.

Faces of successive frames are joined to tracks by place and size, greedily: first the pair of a
track's last face and a new face that differ least. Distances count in sides of the face, because a
person may move by more than the face's box between frames a second apart. Where one track and one
face remain, `join_far` joins them at any distance: the only person of a video may move far, and so
two people in turn become one track. A track waits in frames that do not show its face. The track
with the largest summed area of boxes comes first: a face that is large and shown for long. In a
single picture it is the largest face.
"""

import math
from collections.abc import Sequence

from rffr_jax.faces.face import Face

MAX_DISTANCE = 2.0  # of the centres, in sides of the face
MAX_SIZE_RATIO = 2.0


def find_tracks(faces: Sequence[Sequence[Face]], *, join_far: bool) -> list[dict[int, Face]]:
    """All tracks of a video.

    Args:
      faces: those of each frame, in time.
      join_far: joins the only track and the only face that remain in a frame at any distance.

    Returns:
      For each track its face in the frames where it is to be seen, by the frame's place in `faces`;
      the track of the largest summed area first.
    """
    tracks: list[dict[int, Face]] = []
    for number, there in enumerate(faces):
        last = [next(reversed(track.values())) for track in tracks]
        pairs = [
            (_distance(before, face) + abs(_log_ratio(before, face)), t, f)
            for t, before in enumerate(last)
            for f, face in enumerate(there)
            if _alike(before, face) and _distance(before, face) <= MAX_DISTANCE
        ]
        joined: dict[int, int] = {}  # face -> track
        for _, t, f in sorted(pairs):
            if f not in joined and t not in joined.values():
                joined[f] = t
        free_faces = [f for f in range(len(there)) if f not in joined]
        free_tracks = [t for t in range(len(tracks)) if t not in joined.values()]
        if join_far and len(free_faces) == len(free_tracks) == 1:
            (f,), (t,) = free_faces, free_tracks
            if _alike(last[t], there[f]):
                joined[f] = t
        for f, face in enumerate(there):
            if f in joined:
                tracks[joined[f]][number] = face
            else:
                tracks.append({number: face})
    return sorted(tracks, key=lambda track: -sum(_side(face) ** 2 for face in track.values()))


def _alike(one: Face, other: Face) -> bool:
    return abs(_log_ratio(one, other)) <= math.log2(MAX_SIZE_RATIO)


def _log_ratio(one: Face, other: Face) -> float:
    """The logarithm of the ratio of the sides, to the base 2."""
    return math.log2(_side(one) / _side(other))


def _distance(one: Face, other: Face) -> float:
    """The distance of the centres, in sides of the faces (their geometric mean)."""
    centres = [(face.box[:2] + face.box[2:]) / 2 for face in (one, other)]
    return math.dist(*centres) / math.sqrt(_side(one) * _side(other))


def _side(face: Face) -> float:
    """The side of the square with the area of the box, in pixels."""
    left, top, right, bottom = map(float, face.box)
    return math.sqrt((right - left) * (bottom - top))
