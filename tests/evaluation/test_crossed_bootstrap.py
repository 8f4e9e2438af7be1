"""The crossed bootstrap against a loop, and by simulated experiments whose truth is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rffr_jax.evaluation.crossed_bootstrap import ClusterDraws, crossed_interval

PEOPLE = 40
LABELS = np.tile([0, 1], PEOPLE)
CLUSTERS = [person for person in range(PEOPLE) for _ in range(2)]


def simulated_row(rng, maes, seeds, *, level=0.7, by_mae=0.2, by_seed=0.2, by_image=0.6):
    """Scores [maes, seeds, images] of one row: each MAE, seed and image has its own effect."""
    by_seed = by_seed if seeds > 1 else 0.0
    strength = level + by_mae * rng.normal(size=(maes, 1)) + by_seed * rng.normal(size=seeds)
    image = by_image * rng.normal(size=len(LABELS))
    noise = rng.normal(size=(maes, seeds, len(LABELS))) * 0.5
    return strength[..., None] * LABELS + image + noise


def replicate_differences(draws, better, worse):
    """AUC differences [replicates, maes, seeds]."""
    maes, seeds, _ = better.shape
    aucs = np.array(
        [
            [[draws.aucs(LABELS, row[m, s], CLUSTERS) for s in range(seeds)] for m in range(maes)]
            for row in (better, worse)
        ]
    )
    return np.moveaxis(aucs[0] - aucs[1], -1, 0)


def test_a_replicate_is_that_of_a_loop_over_repeated_images():
    rng = np.random.default_rng(0)
    better, worse = (simulated_row(rng, 1, 2) for _ in range(2))
    draws = ClusterDraws(range(PEOPLE), replicates=6, seed=3)
    found = replicate_differences(draws, better, worse)
    assert (draws.times.sum(axis=0) == PEOPLE).all()
    for replicate in range(6):
        repeated = [
            image
            for image, person in enumerate(CLUSTERS)
            for _ in range(draws.times[person, replicate])
        ]
        for number in range(2):
            aucs = [
                roc_auc_score(LABELS[repeated], row[0, number][repeated]) for row in (better, worse)
            ]
            assert found[replicate, 0, number] == pytest.approx(aucs[0] - aucs[1], abs=1e-12)


def test_the_interval_is_that_of_a_loop_over_draws():
    rng = np.random.default_rng(1)
    differences = rng.normal(size=(300, 6, 5))
    found = crossed_interval(differences, seed=4)
    drawing = np.random.default_rng(np.random.SeedSequence([4, 1]))
    of_maes = drawing.multinomial(6, [1 / 6] * 6, size=300)
    of_seeds = drawing.multinomial(5, [1 / 5] * 5, size=300)
    factors = [(n / (n - 1)) ** 0.5 for n in (6, 5)]
    values = []
    for d, maes, seeds in zip(differences, of_maes, of_seeds, strict=True):
        mean = sum(d[m, s] for m in range(6) for s in range(5)) / 30
        some = sum(maes[m] * d[m, s] for m in range(6) for s in range(5)) / 30
        both = sum(maes[m] * seeds[s] * d[m, s] for m in range(6) for s in range(5)) / 30
        values.append(mean + factors[0] * (some - mean) + factors[1] * (both - some))
    np.testing.assert_allclose((found.low, found.high), np.percentile(values, [2.5, 97.5]))
    assert found.fixed == (False, False)


def test_few_levels_are_held_fixed():
    differences = np.random.default_rng(2).normal(size=(200, 4, 1))
    found = crossed_interval(differences)
    means = differences.mean(axis=(1, 2))
    np.testing.assert_allclose((found.low, found.high), np.percentile(means, [2.5, 97.5]))
    assert found.fixed == (True, True)


def simulate(experiments, maes, seeds, *, replicates=300, **effects):
    """Shares of experiments of two equal rows whose interval covers 0, and lies above it."""
    covered, above = 0, 0
    draws = ClusterDraws(range(PEOPLE), replicates=replicates)
    for number in range(experiments):
        rng = np.random.default_rng([number, maes, seeds])
        better, worse = (simulated_row(rng, maes, seeds, **effects) for _ in range(2))
        found = crossed_interval(replicate_differences(draws, better, worse), seed=number)
        covered += found.low <= 0 <= found.high
        above += found.low > 0
    return covered / experiments, above / experiments


def test_equal_rows_seldom_hold():
    """A small simulation: 20 experiments of five trainings each."""
    covered, above = simulate(20, 5, 1, replicates=100)
    assert covered >= 0.85
    assert above <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("maes", "seeds", "effects"),
    [
        (5, 1, {}),
        (5, 5, {}),
        (5, 1, {"by_image": 0.1, "by_mae": 0.5}),
        (5, 1, {"by_image": 1.0, "by_mae": 0.05}),
        (1, 5, {"by_mae": 0.0}),
    ],
    ids=["trainings", "crossed", "trainings differ much", "images differ much", "seeds"],
)
def test_the_null_is_covered_and_seldom_held(maes, seeds, effects):
    """400 experiments each; the interval is to cover 0 in about 95 % of them."""
    covered, above = simulate(400, maes, seeds, **effects)
    print(f"covered {covered:.3f}, false 'holds' {above:.3f}")
    assert covered >= 0.91
    assert above <= 0.06
