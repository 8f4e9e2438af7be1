"""Thresholds: against a search over all of them, and each real in turn as the new one."""

import collections
import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rffr_jax.data.origins import Origins
from rffr_jax.data.selection import Selection
from rffr_jax.errors import UserError
from rffr_jax.evaluation.aggregate import VideoScore
from rffr_jax.evaluation.operating_point import (
    DEFAULT_OPERATING_POINT,
    OperatingPoint,
    choose_operating_point,
    describe_test_overlap,
    explain_missing_calibration,
    frame_warnings,
    read_operating_point,
    select_multi_frame_videos,
    threshold_warnings,
    write_operating_point,
)
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.evaluation.threshold import (
    choose_threshold,
    expected_fpr,
    rates_at_threshold,
    threshold_at_fpr,
)
from rffr_jax.examples import Example


def drawn(seed: int, count: int, digits: int = 9):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return labels, (rng.beta(2 + labels, 3)).round(digits)


RATES = [0.0, 0.001, 0.01, 0.02, 0.05, 0.29, 0.5, 0.99]


def flagged_when_new(scores, max_fpr) -> float:
    """The share of reals that lie above the threshold that all others of them choose.

    For a real that is exchangeable with n others this is the chance of a false alarm, whatever the
    distribution.
    """
    labels = np.zeros(len(scores) - 1, int)
    others = [np.delete(scores, i) for i in range(len(scores))]
    above = [
        score > threshold_at_fpr(labels, rest, max_fpr)
        for score, rest in zip(scores, others, strict=True)
    ]
    return float(np.mean(above))


@pytest.mark.parametrize("max_fpr", RATES)
@pytest.mark.parametrize("count", [1, 2, 50, 99, 100, 199, 250])
def test_a_new_real_is_flagged_as_rarely_as_is_promised(count, max_fpr):
    scores = np.random.default_rng(count).random(count + 1)
    promised = expected_fpr(count, max_fpr)
    assert flagged_when_new(scores, max_fpr) == pytest.approx(promised)
    assert flagged_when_new(scores.round(1), max_fpr) <= promised + 1e-12  # ties
    enough = max_fpr * (count + 1) >= 1 - 1e-9
    assert (promised <= max_fpr + 1e-12) == enough
    assert promised + 1 / (count + 1) > max_fpr - 1e-12  # one more would break the promise
    if not enough:
        assert threshold_at_fpr(np.zeros(count, int), scores[1:], max_fpr) == scores[1:].max()


def test_one_per_cent_of_a_hundred_reals_is_not_two():
    """Share above the threshold of uniform scores is what the threshold leaves above itself."""
    rng = np.random.default_rng(0)
    left = [1 - threshold_at_fpr(np.zeros(100, int), rng.random(100), 0.01) for _ in range(4000)]
    assert np.mean(left) == pytest.approx(1 / 101, rel=0.06)


def test_ppv_is_the_share_of_fakes_among_what_is_flagged():
    """By counting a population of which a tenth is fake."""
    labels, scores = drawn(1, 100)
    own = rates_at_threshold(labels, scores, 0.5, 0.1)
    flagged = scores > 0.5
    population = np.where(labels == 1, 1, 9)  # every real stands for nine
    expected = population[flagged & (labels == 1)].sum() / population[flagged].sum()
    assert own["ppv"] == pytest.approx(expected)
    nothing = rates_at_threshold(labels, scores, 2.0, 0.1)
    assert (nothing["fpr"], nothing["tpr"], nothing["ppv"], nothing["ppv_low"]) == (
        0,
        0,
        None,
        None,
    )
    assert rates_at_threshold(labels[labels == 0], scores[labels == 0], 2.0, 0.1)["tpr"] is None


@pytest.mark.parametrize(("alarms", "reals"), [(0, 50), (3, 40), (7, 7)])
def test_few_reals_do_not_prove_that_there_are_no_false_alarms(alarms, reals):
    """Wilson's bound solves (bound - fpr)^2 = z^2 bound (1 - bound) / n."""
    labels = np.repeat([0, 1], [reals, 10])
    scores = np.concatenate([np.arange(reals) < alarms, np.ones(10)]).astype(float)
    found = rates_at_threshold(labels, scores, 0.5, 0.01)
    fpr, high = found["fpr"], found["fpr_high"]
    assert fpr is not None
    assert high is not None
    assert (high - fpr) ** 2 == pytest.approx(1.959964**2 * high * (1 - high) / reals, abs=1e-6)
    assert found["ppv_low"] == pytest.approx(0.01 / (0.01 + 0.99 * high))
    assert (high > fpr) == (alarms < reals)


def predictions(seed: int) -> Predictions:
    labels, scores = drawn(seed, 60)
    names = [f"{seed}/{i}" for i in range(60)]
    methods = ["warp" if label else "real" for label in labels]
    examples = [
        Example(n, n, int(label), "d", m, n, 0, n)
        for n, label, m in zip(names, labels, methods, strict=True)
    ]
    return Predictions(examples, scores)


MEAN = VideoScore("mean", 0, 32)


def of_images(seed: int, method: str = "platt", part: Predictions | None = None) -> OperatingPoint:
    return choose_operating_point(part or predictions(seed), None, MEAN, ["csv:a.csv"], 0.1, method)


def frames(seed: int, most: int = 5) -> Predictions:
    """40 videos of 2 to `most` frames."""
    rng = np.random.default_rng(seed)
    examples, scores = [], []
    for video in range(40):
        for frame in range(most if video < 2 else int(rng.integers(2, most + 1))):
            label, name = video % 2, f"{video}/{frame}"
            method = "warp" if label else "real"
            examples.append(Example(name, name, label, "d", method, str(video), frame, str(video)))
            scores.append(rng.beta(2 + label, 3))
    return Predictions(examples, np.array(scores))


def of_label(part: Predictions, label: int) -> Predictions:
    rows = [i for i, example in enumerate(part.examples) if example.label == label]
    return Predictions([part.examples[i] for i in rows], part.scores[rows])


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_point_is_read_for_its_own_weights_only(tmp_path, method, caplog):
    point = choose_operating_point(predictions(0), frames(1), MEAN, ["csv:a.csv"], 0.1, method)
    assert read_operating_point(tmp_path, "last", "w") == DEFAULT_OPERATING_POINT
    write_operating_point(tmp_path, "last", point, "w")
    assert read_operating_point(tmp_path, "last", "w") == point
    assert caplog.text == ""
    assert read_operating_point(tmp_path, "last", "v") == DEFAULT_OPERATING_POINT
    assert len(caplog.records) == 1
    said = "last.json: the operating point is of other weights and is not used; make it again"
    assert said in caplog.text
    assert (point.image.n_real, point.image.n_fake, point.chosen_on) == (30, 30, ("csv:a.csv",))
    auc = roc_auc_score(predictions(0).labels, predictions(0).scores)
    assert point.image.auc == pytest.approx(auc)


@pytest.mark.parametrize(("how", "top_k"), [("mean", 0), ("median", 0), ("top_k", 2)])
def test_the_threshold_of_videos_is_that_of_their_scores(how, top_k):
    part = frames(3)
    asked = VideoScore(how, top_k, 32)
    found = choose_operating_point(predictions(0), part, asked, ["csv:a.csv"], 0.2, "platt").video
    assert found is not None
    of_video = [part.scores[[e.video == str(video) for e in part.examples]] for video in range(40)]
    by_hand = {
        "mean": np.mean, "median": np.median, "top_k": lambda s: np.mean(sorted(s)[-2:]),
    }[how]  # fmt: skip
    scores, labels = np.array([by_hand(s) for s in of_video]), np.arange(40) % 2
    assert found.value == pytest.approx(threshold_at_fpr(labels, scores, 0.2))
    assert (found.n_real, found.n_fake) == (20, 20)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores))
    assert found.video_score == VideoScore(how, top_k, 5)  # no video has more than five


def two_sources(part: Predictions) -> Predictions:
    """Every other example is of the data set `e`, whose reals score higher."""
    examples, scores = list(part.examples), part.scores.copy()
    for i, example in enumerate(examples):
        if int(example.source.rpartition("/")[2]) // 2 % 2:
            examples[i] = dataclasses.replace(example, dataset="e")
            scores[i] = 0.5 + scores[i] / 2
    return Predictions(examples, scores)


def test_the_worst_source_keeps_the_rate_in_every_source():
    images, videos = two_sources(predictions(0)), two_sources(frames(3))
    points = [
        choose_operating_point(images, videos, MEAN, ["csv:a.csv"], 0.2, "platt", worst)
        for worst in (False, True)
    ]
    of_videos = {}
    for example, score in zip(videos.examples, videos.scores, strict=True):
        of_videos.setdefault((example.dataset, example.label, example.video), []).append(score)
    real_videos = {
        name: [np.mean(v) for (d, label, _), v in of_videos.items() if (d, label) == (name, 0)]
        for name in "de"
    }
    real_images = {
        name: [s for e, s in zip(images.examples, images.scores, strict=True)
               if (e.dataset, e.label) == (name, 0)] for name in "de"
    }  # fmt: skip
    for medium, reals in (("image", real_images), ("video", real_videos)):
        together, worst = (getattr(point, medium) for point in points)
        zeros = {name: np.zeros(len(scores), int) for name, scores in reals.items()}
        alone = {n: threshold_at_fpr(zeros[n], np.array(reals[n]), 0.2) for n in reals}
        assert worst.value == pytest.approx(max(alone.values()))
        assert (worst.source, together.source) == ("e", "")
        assert worst.n_real == len(reals["e"]) < together.n_real
        assert worst.value > together.value
        assert np.mean(np.array(reals["e"]) > together.value) > 0.2
        assert all(np.mean(np.array(scores) > worst.value) <= 0.2 for scores in reals.values())
        assert worst.auc == together.auc
    few = choose_operating_point(images, None, MEAN, ["d"], 0.01, "none", True)
    said = [line for line in threshold_warnings(few, {}) if "highest of only" in line]
    assert len(said) == 2
    for name, line in zip("de", said, strict=True):
        assert f"FPR in {name} is the highest of only {len(real_images[name])} reals" in line
    assert OperatingPoint.from_json({**few.to_json(), "origins": {}}).image == few.image


def test_a_small_source_that_does_not_decide_is_named():
    """Three reals say of the fourth no more than that it is the highest in one case of four."""
    scores = np.concatenate([np.random.default_rng(0).random(1000), [0.1, 0.2, 0.3]])
    sources = ["A"] * 1000 + ["B"] * 3
    found = choose_threshold(np.zeros(1003, int), scores, 0.01, "none", sources=sources)
    assert (found.source, found.n_real) == ("A", 1000)
    assert found.expected_fpr == 1 / 4
    said = threshold_warnings(OperatingPoint(found, None, ("d",)), {})
    few = [line for line in said if "highest of only" in line]
    assert few == [
        "the threshold for 1% FPR in B is the highest of only 3 reals in data.validation: an FPR "
        "of 25% is to be expected"
    ]


def test_no_threshold_of_videos_without_a_real_one():
    fakes, reals = of_label(frames(3), 1), of_label(frames(3), 0)
    assert (
        choose_operating_point(predictions(0), fakes, MEAN, ["csv:a.csv"], 0.2, "platt").video
        is None
    )
    found = choose_operating_point(predictions(0), reals, MEAN, ["csv:a.csv"], 0.2, "platt").video
    assert found is not None
    assert (found.n_real, found.n_fake, found.auc, found.calibration) == (20, 0, None, None)
    assert "there are no fakes among them" in explain_missing_calibration(found)


def test_videos_of_too_few_frames_for_the_threshold_are_told():
    def videos(count: int) -> list[Example]:
        return [e for e in frames(1).examples if e.video in "01" and e.frame < count]

    point = choose_operating_point(predictions(0), frames(0), MEAN, ["csv:a.csv"], 0.2, "platt")
    assert frame_warnings(point, videos(5)) == frame_warnings(point, videos(3)) == []
    assert frame_warnings(point, videos(1)) == []
    (said,) = frame_warnings(point, videos(2))
    assert "chosen on the mean of 5 frames; 2 of 2 test videos" in said
    assert "(from 2)" in said
    assert frame_warnings(dataclasses.replace(point, video=None), videos(2)) == []


def test_frames_of_videos_are_taken_and_photographs_are_not():
    photographs = tuple(predictions(0).examples)
    places = tuple((0, i) for i in range(len(frames(0).examples) + len(photographs)))
    dataset = Selection((*frames(0).examples, *photographs), (), places)
    found = select_multi_frame_videos(dataset, 3)
    assert found is not None
    sizes = collections.Counter(example.video for example in found.examples)
    assert sizes.keys() == {str(video) for video in range(40)}
    assert max(sizes.values()) == 3
    assert select_multi_frame_videos(dataset, 1) is None
    assert select_multi_frame_videos(Selection(photographs, (), places), 3) is None
    everything = select_multi_frame_videos(dataset, 0)
    assert everything is not None
    assert len(everything.examples) == len(frames(0).examples)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_calibration_that_does_not_rise_is_refused_and_the_threshold_stays(method):
    upright = predictions(0)
    turned = Predictions(upright.examples, 1 - upright.scores)
    point = of_images(0, method, turned)
    assert point.image.calibration is None
    assert point.image.value == threshold_at_fpr(turned.labels, turned.scores, 0.1)
    (said,) = threshold_warnings(point, {})
    assert f"validation AUC {roc_auc_score(turned.labels, turned.scores):.3f}" in said
    assert of_images(0, method).image.calibration is not None


@pytest.mark.parametrize(
    "falls",
    [
        {"method": "platt", "slope": -2.0, "intercept": 0.3},
        {"method": "platt", "slope": 0.0, "intercept": 0.3},
        {"method": "isotonic", "scores": [0.1, 0.9], "corners": [0.4, 0.4]},
        {"method": "isotonic", "scores": [0.1, 0.5, 0.9], "corners": [0.1, 0.5, 0.4]},
    ],
)
def test_a_kept_calibration_that_does_not_rise_is_refused(tmp_path, falls):
    file = tmp_path / "operating_points/last.json"
    write_operating_point(tmp_path, "last", of_images(0), "w")
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"calibrations": {"image": falls, "video": None}}))
    with pytest.raises(UserError, match=r"last\.json is damaged .*that does not rise"):
        read_operating_point(tmp_path, "last", "w")


def test_no_calibration_where_none_is_asked_for():
    labels, scores = drawn(3, 40)
    chosen, plain = (choose_threshold(labels, scores, 0.1, how) for how in ("none", "platt"))
    assert plain.calibration is not None
    assert chosen == dataclasses.replace(plain, calibration=None)
    assert "none was asked for" in explain_missing_calibration(chosen)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("thresholds", "image", "value"), "high"),
        (("thresholds", "image", "value"), float("nan")),
        (("thresholds", "video", "value"), 1.5),
        (("thresholds", "video", "max_fpr"), None),
        (("thresholds", "video", "n_real"), 0),
        (("thresholds", "video", "aggregate"), 7),
        (("thresholds", "image", "source_reals"), []),
        (("thresholds", "image", "source_reals"), {"d": 0}),
        (("thresholds", "image"), None),
        (("thresholds",), []),
        (("calibrations", "image"), {"method": "platt", "slope": "x", "intercept": 0}),
        (("calibrations", "image"), {"method": "isotonic", "scores": [0, 1], "corners": [0.5]}),
        (("calibrations", "video"), {"method": "isotonic", "scores": [0, 1], "corners": [0, 7]}),
        (("origins",), []),
        (("chosen_on",), 5),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, place, wrong):
    point = choose_operating_point(predictions(0), frames(1), MEAN, ["d"], 0.1, "platt")
    write_operating_point(tmp_path, "last", point, "w")
    file = tmp_path / "operating_points/last.json"
    record = json.loads(file.read_text())
    entry = record
    for name in place[:-1]:
        entry = entry[name]
    entry[place[-1]] = wrong
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"last\.json is damaged .*validation, or delete it"):
        read_operating_point(tmp_path, "last", "w")


def test_shared_originals_are_named():
    chooses, tested = predictions(0).examples, predictions(1).examples
    assert describe_test_overlap(Origins.from_examples(chooses), tested) == ""
    said = describe_test_overlap(Origins.from_examples(chooses), [*tested, *chooses[:2]])
    assert said.startswith("2 of 62 test images share")
    assert "'0/0' of dataset 'd'" in said
