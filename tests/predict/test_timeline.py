"""Scores over time: where the peaks are, and what the drawing says of them."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from rffr_jax.predict import timeline as module
from rffr_jax.predict.timeline import MOST_PEAKS, score_peaks
from tests.reports.macros import call


def frames(scores, step=0.5):
    return [{"time": i * step, "frame": 10 * i, "score": s} for i, s in enumerate(scores)]


def face(number, scores):
    """A face with a picture at every peak."""
    there = frames(scores)
    peaks = [there[i] | {"picture": f"face{number}-{i}.jpg"} for i in score_peaks(scores)]
    return {"face": number, "frames": there, "peaks": peaks}


def timeline(*values):
    """As HTML, in the way that the report draws it."""
    drawn = module.timeline(*values)
    return call("timeline.html", "timeline", drawn) if drawn else ""


def drawing(html):
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


def test_peaks_are_local_maxima_the_highest_first():
    rng = np.random.default_rng()
    for _ in range(50):
        scores = rng.random(rng.integers(1, 12))
        expected = [
            i
            for i, score in enumerate(scores)
            if (i == 0 or score > scores[i - 1]) and (i == len(scores) - 1 or score > scores[i + 1])
        ]
        expected.sort(key=lambda i: -scores[i])
        assert score_peaks(list(scores)) == expected[:MOST_PEAKS]


def test_a_plateau_is_one_peak():
    assert score_peaks([0.1, 0.7, 0.7, 0.7, 0.2, 0.9]) == [5, 1]
    assert score_peaks([0.5, 0.5, 0.5]) == [0]
    assert score_peaks([0.0, 0.0, 0.4]) == [2]


def test_every_peak_leads_to_its_picture():
    record = {"faces": [face(0, [0.2, 0.8, 0.3, 0.6]), face(1, [0.1, 0.4, 0.2, 0.1])]}
    pictures = {p["picture"]: f"data:,{p['picture']}" for f in record["faces"] for p in f["peaks"]}
    html = timeline(record, 0.5, pictures, "film")
    links = [a.attrib["href"].removeprefix("#") for a in drawing(html).iter("a")]
    assert links == re.findall(r'<figure id="(film-peak\d)">', html)
    assert re.findall(r'src="data:,([^"]+)"', html) == [
        "face0-1.jpg", "face0-3.jpg", "face1-1.jpg",
    ]  # fmt: skip
    titles = [title.text for title in drawing(html).iter("title")]
    assert titles[0] == "face 0, 0:00.5, frame 10: score 0.800"
    assert len(list(drawing(html).iter("polyline"))) == 2


def test_places_are_in_proportion():
    (line,) = drawing(timeline({"faces": [face(0, [0.0, 0.25, 1.0])]}, 0.25, {}, "a")).iter(
        "polyline"
    )
    points = np.array([[float(v) for v in p.split(",")] for p in line.attrib["points"].split()])
    steps = np.diff(points, axis=0)
    assert steps[0, 0] == pytest.approx(steps[1, 0])
    assert steps[1, 1] == pytest.approx(3 * steps[0, 1], abs=0.2)
    html = timeline({"faces": [face(0, [0.0, 0.25, 1.0])]}, 0.25, {}, "a")
    (threshold,) = [e for e in drawing(html).iter("line") if e.attrib["class"] == "threshold"]
    assert float(threshold.attrib["y1"]) == pytest.approx(points[1, 1])


def test_peaks_without_pictures_have_no_link():
    html = timeline({"faces": [face(0, [0.3, 0.9, 0.1])]}, 0.5, {}, "a")
    assert "<a " not in html
    assert "<figure" not in html
    assert "0:00.5" in "".join(drawing(html).itertext())


def test_one_frame_and_none():
    assert len(list(drawing(timeline({"faces": [face(0, [0.3])]}, 0.5, {}, "a")).iter("svg"))) == 1
    assert timeline({"faces": []}, 0.5, {}, "a") == ""
    assert timeline({"faces": [{"face": 0, "frames": [], "peaks": []}]}, 0.5, {}, "a") == ""
