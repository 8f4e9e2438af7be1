"""Probabilities: reliability against a loop, fits against SciPy and the definition."""

import numpy as np
import pytest
from scipy import optimize

from rffr_jax.errors import UserError
from rffr_jax.evaluation.calibration import (
    Isotonic,
    Platt,
    fit,
    from_json,
    reliability,
    to_json,
)


def overconfident(seed: int, count: int):
    """Fakes with probability p, scores that say the same thing three times as loudly."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=count)
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    return labels, 1 / (1 + np.exp(-3 * logits - 1))


def test_reliability_is_that_of_a_loop():
    labels, scores = overconfident(0, 400)
    scores[:3] = [0.0, 1.0, 0.2]
    found = reliability(labels, scores, bins=10)
    rows, total = [], 0.0
    for number in range(10):
        inside = [i for i, score in enumerate(scores) if min(int(score * 10), 9) == number]
        if inside:
            said = sum(scores[i] for i in inside) / len(inside)
            share = sum(labels[i] for i in inside) / len(inside)
            rows.append((len(inside), said, share))
            total += len(inside) * abs(said - share)
    np.testing.assert_allclose(
        np.stack([found.count, found.mean_probability, found.fake_share], 1), rows
    )
    assert found.ece == pytest.approx(total / 400)


def test_platt_is_the_maximum_of_its_likelihood():
    labels, scores = overconfident(1, 300)
    found = fit("platt", labels, scores)
    assert isinstance(found, Platt)
    fakes, reals = labels.sum(), (1 - labels).sum()
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    logits = np.log(scores / (1 - scores))

    def loss(parameters):
        margin = parameters[0] * logits + parameters[1]
        return np.sum(np.logaddexp(0, margin) - targets * margin)

    best = optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9})
    assert (found.slope, found.intercept) == pytest.approx(best.x, abs=1e-5)


def test_isotonic_is_the_closest_rising_map():
    """Pool adjacent violators by the min-max formula: max over a of min over b of mean(a..b)."""
    labels, scores = overconfident(2, 60)
    order = np.argsort(scores)
    y = labels[order].astype(float)
    expected = [
        max(min(y[a : b + 1].mean() for b in range(i, 60)) for a in range(i + 1)) for i in range(60)
    ]
    found = fit("isotonic", labels, scores)
    np.testing.assert_allclose(found.probabilities(scores[order]), expected, atol=1e-12)
    assert found.probabilities(np.array([0.0, 1.0])).tolist() == [expected[0], expected[-1]]


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_fit_mends_other_images_of_the_same_kind(method):
    labels, scores = overconfident(3, 4000)
    found = fit(method, labels, scores)
    labels, scores = overconfident(4, 4000)
    raw = reliability(labels, scores).ece
    mended = found.probabilities(scores)
    assert raw > 0.15
    assert reliability(labels, mended).ece < 0.04
    assert (np.diff(mended[np.argsort(scores)]) >= 0).all()
    again = from_json(to_json(found))
    assert again == found
    assert to_json(found)["method"] == method


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_separable_and_saturated_scores_stay_finite(method):
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.0, 1e-300, 1.0, 1.0])
    mended = fit(method, labels, scores).probabilities(scores)
    assert np.isfinite(mended).all()
    assert ((mended >= 0) & (mended <= 1)).all()
    assert mended[:2].max() < 0.5 < mended[2:].min()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_it_rises_where_fakes_score_higher_and_nowhere_else(method):
    labels, scores = overconfident(5, 300)
    assert fit(method, labels, scores).is_increasing
    assert not fit(method, labels, 1 - scores).is_increasing
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels, scores = rng.permutation(np.arange(30) % 2), rng.random(30).round(2)
        found = fit(method, labels, scores)
        grid = found.probabilities(np.linspace(0, 1, 999))
        assert found.is_increasing == ((np.diff(grid) >= 0).all() and grid[-1] > grid[0])


def test_an_unknown_method_is_a_users_mistake():
    with pytest.raises(UserError, match="calibration='beta' is not known; choose platt, isoton"):
        fit("beta", *overconfident(0, 10))
    with pytest.raises(ValueError, match="fits nothing"):
        fit("none", *overconfident(0, 10))
    assert isinstance(fit("platt", *overconfident(0, 10)), Platt)
    assert isinstance(fit("isotonic", *overconfident(0, 10)), Isotonic)


def test_brier_score_and_skill_by_hand():
    labels = np.array([0, 0, 0, 1])
    found = reliability(labels, np.array([0.1, 0.2, 0.0, 0.6]))
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.0 + 0.16) / 4)
    assert found.brier_skill == pytest.approx(1 - found.brier / (0.25 * 0.75))
    assert reliability(labels, np.full(4, 0.25)).brier_skill == pytest.approx(0)
    assert reliability(labels, labels.astype(float)).brier_skill == 1
