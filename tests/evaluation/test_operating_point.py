"""Thresholds: against a search over all of them, and each real in turn as the new one."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation.calibration import Platt
from rffr_jax.evaluation.operating_point import (
    NONE_CHOSEN,
    OperatingPoint,
    choose,
    expected_fpr,
    keep,
    kept,
    rates,
    shared_with_test,
    threshold_at_fpr,
)
from rffr_jax.evaluation.predictions import Predictions
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
    own = rates(labels, scores, 0.5, 0.1)
    flagged = scores > 0.5
    population = np.where(labels == 1, 1, 9)  # every real stands for nine
    expected = population[flagged & (labels == 1)].sum() / population[flagged].sum()
    assert own["ppv"] == pytest.approx(expected)
    assert rates(labels, scores, 2.0, 0.1) == {"fpr": 0.0, "tpr": 0.0, "ppv": None}
    assert rates(labels[labels == 0], scores[labels == 0], 2.0, 0.1)["tpr"] is None


def predictions(seed: int) -> Predictions:
    labels, scores = drawn(seed, 60)
    names = [f"{seed}/{i}" for i in range(60)]
    methods = ["warp" if label else "real" for label in labels]
    examples = [
        Example(n, n, int(label), "d", m, n, 0, n)
        for n, label, m in zip(names, labels, methods, strict=True)
    ]
    return Predictions(examples, scores)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_what_is_kept_comes_back_for_the_same_weights_alone(tmp_path, method):
    point = choose(predictions(0), ["csv:a.csv"], 0.1, method)
    file = tmp_path / "points" / "last.json"
    assert kept(file, "w") == NONE_CHOSEN
    keep(file, point, "w")
    assert kept(file, "w") == point
    assert kept(file, "v") == NONE_CHOSEN
    auc = roc_auc_score(predictions(0).labels, predictions(0).scores)
    assert point.chosen_on == {
        "data": ["csv:a.csv"], "n_real": 30, "n_fake": 30, "auc": pytest.approx(auc),
    }  # fmt: skip


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_calibration_that_does_not_rise_is_refused_and_the_threshold_stays(method):
    upright = predictions(0)
    turned = Predictions(upright.examples, 1 - upright.scores)
    point = choose(turned, ["csv:a.csv"], 0.1, method)
    assert point.calibration is None
    assert point.threshold == threshold_at_fpr(turned.labels, turned.scores, 0.1)
    assert point.chosen_on["auc"] < 0.5
    assert choose(upright, ["csv:a.csv"], 0.1, method).calibration is not None


@pytest.mark.parametrize(
    "falls",
    [
        {"method": "platt", "slope": -2.0, "intercept": 0.3},
        {"method": "platt", "slope": 0.0, "intercept": 0.3},
        {"method": "isotonic", "scores": [0.1, 0.9], "corners": [0.4, 0.4]},
        {"method": "isotonic", "scores": [0.1, 0.5, 0.9], "corners": [0.1, 0.5, 0.4]},
    ],
)
def test_a_kept_calibration_that_does_not_rise_is_not_used(tmp_path, falls, caplog):
    file = tmp_path / "last.json"
    point = choose(predictions(0), ["csv:a.csv"], 0.1, "platt")
    keep(file, point, "w")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"calibration": falls}))
    assert kept(file, "w") == dataclasses.replace(point, calibration=None)
    assert f"validation AUC {point.chosen_on['auc']:.3f}" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": "high"},
        {"threshold": float("nan")},
        {"threshold": 1.5},
        {"calibration": {"method": "platt", "slope": "x", "intercept": 0}},
        {"calibration": {"method": "isotonic", "scores": [0, 1], "corners": [0.5]}},
        {"calibration": {"method": "isotonic", "scores": [0, 1], "corners": [0.5, 7]}},
        {"origins": []},
        {"chosen_on": 5},
    ],
)
def test_a_damaged_record_is_refused(tmp_path, wrong):
    origins = Origins(frozenset({("d", "a")}), frozenset())
    chosen_on = {"data": ["d"], "n_real": 1, "n_fake": 1, "auc": 1.0}
    keep(tmp_path / "p.json", OperatingPoint(0.4, 0.1, Platt(1.5, 0.1), chosen_on, origins), "w")
    record = json.loads((tmp_path / "p.json").read_text())
    (tmp_path / "p.json").write_text(json.dumps(record | wrong))
    with pytest.raises(UserError, match=r"p\.json is damaged .*delete it"):
        kept(tmp_path / "p.json", "w")


def test_shared_originals_are_named():
    chooses, tested = predictions(0).examples, predictions(1).examples
    assert shared_with_test(Origins.of(chooses), tested) == ""
    said = shared_with_test(Origins.of(chooses), [*tested, *chooses[:2]])
    assert said.startswith("2 of 62 test images share")
    assert "'0/0' of dataset 'd'" in said
