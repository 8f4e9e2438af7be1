"""The scores of a video's faces over time: a drawing in HTML that needs no script.

Every peak is a link to the picture of its frame, which stands below the curves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.signal
from matplotlib.ticker import MaxNLocator

from rffr_jax.reports.page import escaped

MOST_PEAKS = 3

STYLE = """<style>
.timeline svg { display: block; width: 100%; min-width: 34rem; height: auto; }
.timeline .drawing { overflow-x: auto; }
.timeline text { fill: currentColor; font: 13px system-ui, sans-serif; }
.timeline .grid { stroke: currentColor; stroke-opacity: 0.2; }
.timeline .threshold { stroke: currentColor; stroke-dasharray: 6 4; }
.timeline a text { font-weight: 600; }
.timeline .peaks { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.timeline .peaks figure { margin: 0; width: 9rem; padding: 0.25rem; border-radius: 4px; }
.timeline .peaks img { width: 100%; height: auto; }
.timeline .peaks figure:target { outline: 3px solid #d39b00; }
</style>"""

_WIDTH, _HEIGHT = 720, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 706, 26, 206
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#b88600", "#56b4e9", "#8a6d3b", "#808080"),
)


def score_peaks(scores: Sequence[float]) -> list[int]:
    """Where scores in time are highest: at most `MOST_PEAKS` local maxima, the highest first.

    Of frames in a row with the same score the first one counts; the first and the last frame can be
    peaks.
    """
    padded = np.pad(np.asarray(scores, dtype=np.float64), 1, constant_values=-np.inf)
    peaks = scipy.signal.find_peaks(padded, plateau_size=1)[1]["left_edges"] - 1
    return sorted(map(int, peaks), key=lambda peak: (-scores[peak], peak))[:MOST_PEAKS]


def timeline(
    record: Mapping[str, Any], threshold: float, pictures: Mapping[str, str], name: str
) -> str:
    """The curves of all faces of a video, and the frames at their peaks.

    Args:
      record: an entry of `files` in predictions.json.
      threshold: drawn as a line, in [0, 1].
      pictures: the address of each picture that the record's peaks name; a peak without one is
        marked all the same.
      name: begins the ids of the pictures; no other timeline of the page has it.

    Returns:
      HTML, for a page that holds `STYLE`; '' where no face has a score.
    """
    faces = [face for face in record["faces"] if face["frames"]]
    if not faces:
        return ""
    times = [frame["time"] for face in faces for frame in face["frames"]]
    axes = _Axes(min(times), max(times))
    curves, legend, figures = [], [], []
    number = 0
    for face in faces:
        colour = _COLOURS[face["face"] % len(_COLOURS)]
        points = [axes.point(frame["time"], frame["score"]) for frame in face["frames"]]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        curves.append(f'<polyline points="{joined}" fill="none" stroke="{colour}"/>')
        curves += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in points]
        legend.append(f'<span style="color:{colour}">&#9632;</span> face {face["face"]}')
        for peak in face["peaks"]:
            number += 1
            x, y = axes.point(peak["time"], peak["score"])
            said = (
                f"face {face['face']}, {_clock(peak['time'])}, frame {peak['frame']}: "
                f"score {peak['score']:.3f}"
            )
            mark = (
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>'
                f'<text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">{number}</text>'
            )
            address = pictures.get(peak["picture"])
            if address is None:
                curves.append(f"<g><title>{said}</title>{mark}</g>")
                continue
            there = escaped(f"{name}-peak{number}")
            curves.append(f'<a href="#{there}"><title>{said}</title>{mark}</a>')
            figures.append(
                f'<figure id="{there}"><img src="{escaped(address)}" alt="{said}">'
                f"<figcaption>{number}: {said}</figcaption></figure>"
            )
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="score over time">'
        + "".join([*axes.lines(threshold), *curves])
        + "</svg>"
    )
    shown = f'<div class="peaks">{"".join(figures)}</div>' if figures else ""
    return (
        f'<div class="timeline"><div class="drawing">{drawing}</div>'
        f'<p class="small">{", ".join(legend)}; every point is a frame that was looked at, numbers '
        f"are peaks.</p>{shown}</div>"
    )


class _Axes:
    """Seconds and scores to places in the drawing."""

    def __init__(self, first: float, last: float):
        middle, half = (first + last) / 2, max(last - first, 1.0) / 2
        self._first, self._last = middle - half, middle + half

    def point(self, time: float, score: float) -> tuple[float, float]:
        share = (time - self._first) / (self._last - self._first)
        return _LEFT + share * (_RIGHT - _LEFT), _BOTTOM - score * (_BOTTOM - _TOP)

    def lines(self, threshold: float) -> Iterator[str]:
        for score in (0.0, 0.5, 1.0):
            _, y = self.point(0.0, score)
            yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{score:g}</text>'
        for time in MaxNLocator(6).tick_values(self._first, self._last):
            if max(0.0, self._first) <= time <= self._last:
                x, _ = self.point(float(time), 0.0)
                yield (
                    f'<line class="grid" x1="{x:.1f}" y1="{_BOTTOM}" x2="{x:.1f}" '
                    f'y2="{_BOTTOM + 5}"/>'
                )
                yield (
                    f'<text x="{x:.1f}" y="{_BOTTOM + 19}" text-anchor="middle">'
                    f"{_clock(time)}</text>"
                )
        _, y = self.point(0.0, threshold)
        yield f'<line class="threshold" x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}"/>'
        yield (
            f'<text x="{_RIGHT}" y="14" text-anchor="end">dashed: the threshold, '
            f"{threshold:.3f}</text>"
        )
        yield (
            f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
            "time, minutes:seconds</text>"
        )
        yield '<text x="4" y="14">score</text>'


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
