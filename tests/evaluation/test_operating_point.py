"""Thresholds: against a search over all of them, and the ROC curve of scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation.calibration import Platt
from rffr_jax.evaluation.metrics import tpr_at_fpr
from rffr_jax.evaluation.operating_point import (
    NONE_CHOSEN,
    OperatingPoint,
    choose,
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


@pytest.mark.parametrize("digits", [9, 1])
@pytest.mark.parametrize("max_fpr", [0.0, 0.001, 0.01, 0.05, 0.29, 0.5, 0.99])
def test_no_lower_threshold_keeps_the_promise(digits, max_fpr):
    labels, scores = drawn(0, 200, digits)
    threshold = threshold_at_fpr(labels, scores, max_fpr)
    reals = scores[labels == 0]

    def flagged(limit):
        return (reals > limit).mean()

    assert flagged(threshold) <= max_fpr + 1e-12
    lower = reals[reals < threshold]
    assert not lower.size or flagged(lower.max()) > max_fpr + 1e-12
    own = rates(labels, scores, threshold, 0.5)
    assert own["tpr"] == pytest.approx(tpr_at_fpr(labels, scores, max_fpr + 1e-12))
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert {"fpr": own["fpr"], "tpr": own["tpr"]} in [
        {"fpr": pytest.approx(x), "tpr": pytest.approx(y)} for x, y in zip(fpr, tpr, strict=True)
    ]


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
    assert point.chosen_on == {"data": ["csv:a.csv"], "n_real": 30, "n_fake": 30}


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": "high"},
        {"threshold": float("nan")},
        {"threshold": 1.5},
        {"calibration": None},
        {"calibration": {"method": "platt", "slope": "x", "intercept": 0}},
        {"calibration": {"method": "isotonic", "scores": [0, 1], "corners": [0.5]}},
        {"calibration": {"method": "isotonic", "scores": [0, 1], "corners": [0.5, 7]}},
        {"origins": []},
        {"chosen_on": 5},
    ],
)
def test_a_damaged_record_is_refused(tmp_path, wrong):
    origins = Origins(frozenset({("d", "a")}), frozenset())
    chosen_on = {"data": ["d"], "n_real": 1, "n_fake": 1}
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
