"""The scores of a video's faces over time, as an SVG without a script.

Every peak is a link to the picture of its frame below the curves.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_PEAKS = 3

_WIDTH, _HEIGHT = 720, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 706, 26, 206
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#b88600", "#56b4e9", "#8a6d3b", "#808080"),
)


def score_peaks(scores: Sequence[float]) -> list[int]:
    """Indices of at most `MOST_PEAKS` local maxima, the highest first.

    A plateau counts at its first frame. The first and the last frame can be peaks.
    """
    import scipy.signal  # slow to import, and only videos need it

    padded = np.pad(np.asarray(scores, dtype=np.float64), 1, constant_values=-np.inf)
    peaks = scipy.signal.find_peaks(padded, plateau_size=1)[1]["left_edges"] - 1
    return sorted(map(int, peaks), key=lambda peak: (-scores[peak], peak))[:MOST_PEAKS]


def timeline(
    record: Mapping[str, Any], threshold: float, pictures: Mapping[str, str], name: str
) -> dict[str, Any] | None:
    """The curves of all faces of a video, and the frames at their peaks.

    Args:
      record: an entry of `files` in predictions.json.
      threshold: drawn as a line, in [0, 1].
      pictures: URLs of the pictures that the record's peaks name; a peak without one has no link.
      name: prefix of the pictures' ids, unique in the page.

    Returns:
      The argument of the macro `timeline`; None where no face has a score.
    """
    faces = [face for face in record["faces"] if face["frames"]]
    if not faces:
        return None
    times = [frame["time"] for face in faces for frame in face["frames"]]
    axes, number, curves = _Axes(min(times), max(times)), itertools.count(1), []
    for face in faces:
        peaks = []
        for peak in face["peaks"]:
            place = next(number)
            x, y = axes.point(peak["time"], peak["score"])
            said = (
                f"face {face['face']}, {_format_time(peak['time'])}, frame {peak['frame']}: "
                f"score {peak['score']:.3f}"
            )
            address = pictures.get(peak["picture"], "")
            about = {"said": said, "address": address, "id": f"{name}-peak{place}"}
            peaks.append({"number": place, "x": x, "y": y, **about})
        curves.append(
            {
                "number": face["face"],
                "colour": _COLOURS[(face["face"] - 1) % len(_COLOURS)],
                "points": [axes.point(frame["time"], frame["score"]) for frame in face["frames"]],
                "peaks": peaks,
            }
        )
    return {"threshold": f"{threshold:.3f}", "axes": axes.lines(threshold), "faces": curves}


class _Axes:
    """Maps seconds and scores to places in the drawing."""

    def __init__(self, first: float, last: float):
        middle, half = (first + last) / 2, max(last - first, 1.0) / 2
        self._first, self._last = middle - half, middle + half

    def point(self, time: float, score: float) -> tuple[float, float]:
        share = (time - self._first) / (self._last - self._first)
        x = _LEFT + share * (_RIGHT - _LEFT)
        return round(x, 1), round(_BOTTOM - score * (_BOTTOM - _TOP), 1)

    def lines(self, threshold: float) -> dict[str, Any]:
        """The places of the edges, of the grid with its labels, and of the threshold."""
        from matplotlib.ticker import MaxNLocator

        times = MaxNLocator(6).tick_values(self._first, self._last)
        shown = [float(t) for t in times if max(0.0, self._first) <= t <= self._last]
        return {
            **{"width": _WIDTH, "height": _HEIGHT},
            **{"left": _LEFT, "right": _RIGHT, "bottom": _BOTTOM},
            "scores": [(f"{score:g}", self.point(0.0, score)[1]) for score in (0.0, 0.5, 1.0)],
            "times": [(_format_time(time), self.point(time, 0.0)[0]) for time in shown],
            "threshold": self.point(0.0, threshold)[1],
        }


def _format_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
