"""The crossed bootstrap against a loop, and by simulated experiments whose truth is known."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from rffr_jax.evaluation.bootstrap import REPLICATES, ClusterDraws, logit_interval
from rffr_jax.evaluation.crossed_bootstrap import crossed_auc_interval, crossed_interval

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
    times = np.concatenate(list(draws.times(range(PEOPLE))), axis=1).astype(int)
    assert (times.sum(axis=0) == PEOPLE).all()
    for replicate in range(6):
        repeated = [
            image for image, person in enumerate(CLUSTERS) for _ in range(times[person, replicate])
        ]
        for number in range(2):
            aucs = [
                roc_auc_score(LABELS[repeated], row[0, number][repeated]) for row in (better, worse)
            ]
            assert found[replicate, 0, number] == pytest.approx(aucs[0] - aucs[1], abs=1e-12)


def test_draws_of_many_images_are_made_piece_by_piece():
    pieces = list(ClusterDraws(range(PEOPLE)).times([0] * 7))
    assert {piece.shape for piece in pieces} == {(7, 100)}
    assert len(pieces) == REPLICATES // 100


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


def replicate_aucs(draws, row):
    """AUCs [replicates, maes, seeds] of one row, and their mean over trainings of all people."""
    maes, seeds, _ = row.shape
    redrawn = [[draws.aucs(LABELS, row[m, s], CLUSTERS) for s in range(seeds)] for m in range(maes)]
    mean = np.mean([roc_auc_score(LABELS, scores) for some in row for scores in some])
    return np.moveaxis(np.array(redrawn), -1, 0), float(mean)


def simulate_coverage(experiments, maes, seeds, *, level, replicates=300, **effects):
    """The share of experiments whose interval holds the mean over all trainings and people."""
    settings = {"by_mae": 0.2, "by_seed": 0.2, "by_image": 0.6} | effects
    by_training = settings["by_mae"] ** 2 + (settings["by_seed"] ** 2 if seeds > 1 else 0)
    spread = by_training + 2 * (settings["by_image"] ** 2 + 0.5**2)
    truth = stats.norm.cdf(level / spread**0.5)
    draws = ClusterDraws(range(PEOPLE), replicates=replicates)
    covered = 0
    for number in range(experiments):
        rng = np.random.default_rng([number, maes, seeds])
        redrawn, mean = replicate_aucs(
            draws, simulated_row(rng, maes, seeds, level=level, **effects)
        )
        found = crossed_auc_interval(redrawn, mean, seed=number)
        covered += found.low <= truth <= found.high
    return covered / experiments


def test_few_trainings_of_a_mean_auc_are_held_fixed():
    rng = np.random.default_rng(4)
    draws = ClusterDraws(range(PEOPLE), replicates=200)
    redrawn, mean = replicate_aucs(draws, simulated_row(rng, 1, 5, by_seed=0.5))
    every, four = (crossed_auc_interval(redrawn[:, :, :count], mean) for count in (5, 4))
    assert (every.fixed, four.fixed) == ((True, False), (True, True))
    assert every.high - every.low > four.high - four.low
    means = redrawn[:, 0, :4].mean(axis=1)
    assert (four.low, four.high) == pytest.approx(logit_interval(mean, means))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("maes", "seeds", "effects"),
    [
        (5, 1, {"level": 0.7}),
        (5, 1, {"level": 2.4}),
        (5, 5, {"level": 0.7}),
        (5, 1, {"level": 0.7, "by_image": 0.1, "by_mae": 0.5}),
        (10, 1, {"level": 0.7, "by_image": 0.1, "by_mae": 0.5}),
        (1, 5, {"level": 0.7, "by_mae": 0.0}),
    ],
    ids=["AUC .73", "AUC .98", "crossed", "trainings differ much", "ten differ much", "seeds"],
)
def test_a_mean_auc_is_covered(maes, seeds, effects):
    """300 experiments each; the interval is to hold the true mean in about 95 % of them."""
    covered = simulate_coverage(300, maes, seeds, **effects)
    print(f"covered {covered:.3f}")
    assert covered >= 0.9
