"""Which threshold judges what, and what is said where it was chosen on something else."""

import numpy as np
import pytest

from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.calibration import Platt
from rffr_jax.evaluation.operating_point import OperatingPoint
from rffr_jax.evaluation.threshold import Threshold
from rffr_jax.predict.decision_rule import decision_rules, describe_thresholds

MEAN = VideoScore("mean", 0, 32)
IMAGE = Threshold(0.4, 0.01, 200, 200, 0.9, None, Platt(2.0, 0.0))
VIDEO = Threshold(0.3, 0.01, 100, 100, 0.9, MEAN, Platt(1.0, 0.5))
BOTH = OperatingPoint(IMAGE, VIDEO, ("csv:v.csv",))
ONE = OperatingPoint(IMAGE, None, ("csv:v.csv",))


def faces(*counts):
    return [{"frames": [{}] * count} for count in counts]


def test_each_medium_has_its_own_threshold_and_calibration():
    found = decision_rules(BOTH, None, MEAN)
    assert {medium: one.record(faces(20)) for medium, one in found.items()} == {
        "image": {"value": 0.4, "from": "validation data", "chosen_for": "image", "doubts": []},
        "video": {"value": 0.3, "from": "validation data", "chosen_for": "video", "doubts": []},
    }
    for one, threshold in ((found["image"], IMAGE), (found["video"], VIDEO)):
        assert threshold.calibration is not None
        (expected,) = threshold.calibration.probabilities(np.array([0.7]))
        assert one.probability(0.7) == expected
    said = {medium: one.to_json() for medium, one in found.items()}
    assert said["video"]["frames_per_video"] == 32
    assert said["video"]["n_real"] == 100
    assert describe_thresholds(said) == "0.400 for images and 0.300 for videos (validation data)"


@pytest.mark.parametrize(
    ("point", "asked", "counts", "expected"),
    [
        (ONE, MEAN, [32], ["chosen on single images; it may not fit the mean of 32 frames"]),
        (ONE, VideoScore("top_k", 5, 8), [8], ["fit the mean of the 5 highest of 8 frames"]),
        (BOTH, VideoScore("median", 0, 32), [32],
         ["chosen on the mean of 32 frames; it may not fit the median of 32 frames"]),
        (BOTH, VideoScore("mean", 0, 16), [16], ["it may not fit the mean of 16 frames"]),
        (BOTH, MEAN, [32, 3, 0], ["it may not fit a face that was judged in 3",
                                  "chosen on one face; the highest of 2 lies above it up to 2"]),
        (BOTH, MEAN, [16, 0], []),
        (BOTH, MEAN, [0], []),
    ],
)  # fmt: skip
def test_what_a_threshold_was_not_chosen_on_is_said(point, asked, counts, expected):
    found = decision_rules(point, None, asked)["video"]
    doubts = found.doubts(faces(*counts))
    assert len(doubts) == len(expected)
    for doubt, part in zip(doubts, expected, strict=True):
        assert doubt.startswith("the threshold was chosen on")
        assert part in doubt
    fits = point is BOTH and asked == MEAN
    assert (found.probability(0.6) is not None) == fits  # a calibration of other scores is not used


def test_one_frame_of_a_video_is_an_image():
    found = decision_rules(BOTH, None, VideoScore("mean", 0, 1))["video"]
    assert found.record(faces(1)) == {
        "value": 0.4, "from": "validation data", "chosen_for": "image", "doubts": [],
    }  # fmt: skip
    assert found.probability(0.7) == decision_rules(BOTH, None, MEAN)["image"].probability(0.7)


def test_several_faces_of_an_image_are_counted():
    found = decision_rules(BOTH, None, MEAN)["image"]
    assert found.doubts(faces(1, 0)) == []
    (doubt,) = found.doubts(faces(1, 1, 1))
    assert "the highest of 3 lies above it up to 3 times as often" in doubt


@pytest.mark.parametrize(("asked", "origin"), [(0.7, "config"), (None, "default")])
def test_nothing_is_promised_of_a_threshold_that_no_data_chose(asked, origin):
    point = BOTH if asked else OperatingPoint()
    for one in decision_rules(point, asked, VideoScore("median", 0, 8)).values():
        record = one.record(faces(1, 1))
        assert record == {
            "value": asked or 0.5, "from": origin, "chosen_for": None, "doubts": [],
        }  # fmt: skip
        assert one.to_json()["n_real"] is None
