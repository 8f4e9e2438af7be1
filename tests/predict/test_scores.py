"""From scores of frames to what is said of a face and a file."""

import pathlib

import numpy as np
import pytest

from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import aggregate_scores
from rffr_jax.predict.face_finding import FoundFaces, Sighting
from rffr_jax.predict.records import face_record, file_record, printable_path

CROP = np.zeros((16, 16, 3), np.uint8)


def sighting(frame, reason=""):
    return Sighting(frame, frame / 10, (1.0, 2.0, 3.0, 4.0 + frame), CROP, reason)


def test_aggregates():
    scores = np.random.default_rng(0).random(9)
    assert aggregate_scores(scores, "mean", 3) == pytest.approx(sum(scores) / 9)
    assert aggregate_scores(scores, "median", 3) == sorted(scores)[4]
    assert aggregate_scores(scores, "top_k", 3) == pytest.approx(sum(sorted(scores)[6:]) / 3)
    assert aggregate_scores(scores, "top_k", 20) == pytest.approx(sum(scores) / 9)
    for wrong in (("maximum", 3), ("top_k", 0)):
        with pytest.raises(UserError):
            aggregate_scores(scores, *wrong)


def test_frames_that_cannot_be_judged_do_not_count():
    sightings = [sighting(0, "too dark"), sighting(4), sighting(8)]
    face = face_record(sightings, np.array([0.2, 0.6]), 0.39, "mean", 1)
    assert (face["status"], face["score"]) == ("fake", pytest.approx(0.4))
    assert [(frame["frame"], frame["score"]) for frame in face["frames"]] == [(4, 0.2), (8, 0.6)]
    assert face["peak"] == {"time": 0.8, "frame": 8}
    assert face["not_judged"] == [
        {"time": 0.0, "frame": 0, "box": [1.0, 2.0, 3.0, 4.0], "reason": "too dark"}
    ]
    unknown = face_record(sightings[:1], np.zeros(0), 0.4, "mean", 1)
    assert (unknown["status"], unknown["score"]) == ("unknown", None)
    assert (unknown["reason"], unknown["frames"]) == ("too dark", [])


def test_an_unknown_face_is_where_it_is_largest():
    sightings = [sighting(0, "too dark"), sighting(4, "too blurred"), sighting(2, "too small")]
    face = face_record(sightings, np.zeros(0), 0.4, "mean", 1)
    assert (face["reason"], face["box"]) == ("too blurred", [1.0, 2.0, 3.0, 8.0])
    assert [seen["frame"] for seen in face["not_judged"]] == [0, 4, 2]


def test_score_at_the_threshold_is_not_above_it():
    assert face_record([sighting(0)], np.array([0.5]), 0.5, "mean", 1)["status"] == "real"


def test_a_file_is_what_its_worst_face_is():
    def said(*scores):
        faces = [
            face_record([sighting(0)], np.array([score]), 0.5, "mean", 1)
            if score is not None
            else face_record([sighting(0, "too blurred")], np.zeros(0), 0.5, "mean", 1)
            for score in scores
        ]
        found = FoundFaces(pathlib.Path("a.png"), "00", None, (), reason="no face")
        record = file_record(found, faces, None)
        return record["status"], record["score"], record["reason"]

    assert said(0.2, 0.7, None) == ("fake", 0.7, None)
    assert said(None, 0.2) == ("real", 0.2, None)
    assert said(None) == ("unknown", None, "too blurred")
    assert said() == ("unknown", None, "no face")


def test_names_that_are_no_text_can_be_written():
    assert printable_path(b"caf\xe9.png".decode("utf-8", "surrogateescape")) == "caf\\xe9.png"
    assert printable_path("café.png") == "café.png"
