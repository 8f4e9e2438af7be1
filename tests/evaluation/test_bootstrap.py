import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from rffr_jax.evaluation.bootstrap import ClusterDraws, auc_interval, weighted_aucs


def clustered_set(seed: int, clusters: int, each: int, shared: float, ties: bool = False):
    """Clusters of `each` images, real and fake by turns, with a common share of their scores."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(each) % 2, clusters)
    common = np.repeat(rng.normal(size=(clusters, 2)), each, axis=0)[np.arange(len(labels)), labels]
    scores = shared * common + np.sqrt(1 - shared**2) * rng.normal(size=len(labels)) + labels
    names = [f"c{i}" for i in range(clusters) for _ in range(each)]
    return labels, np.round(2 * scores) if ties else scores, names


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_auc_is_sklearns(ties):
    labels, scores, _ = clustered_set(0, 20, 6, 0.5, ties)
    weights = np.random.default_rng(1).integers(0, 4, size=(len(labels), 8)).astype(float)
    expected = [roc_auc_score(labels, scores, sample_weight=column) for column in weights.T]
    np.testing.assert_allclose(weighted_aucs(labels, scores, weights), expected, atol=1e-12)


def test_a_class_without_weight_has_no_auc():
    weights = np.array([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    aucs = weighted_aucs(np.array([0, 1]), np.array([0.1, 0.9]), weights)
    np.testing.assert_array_equal(aucs, [1.0, np.nan, np.nan])


@pytest.mark.parametrize("ties", [False, True])
def test_replicates_are_those_of_a_plain_resampling_loop(ties):
    labels, scores, clusters = clustered_set(2, 12, 4, 0.5, ties)
    fast = ClusterDraws(clusters, replicates=120, seed=5).aucs(labels, scores, clusters)

    names = sorted(set(clusters))
    members = [np.flatnonzero(np.asarray(clusters) == name) for name in names]
    rng = np.random.default_rng(np.random.SeedSequence(5))
    slow = []
    for _ in range(120):
        rows = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        slow.append(roc_auc_score(labels[rows], scores[rows]))
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_replicates_without_a_class_are_left_out():
    # one cluster of reals, one of fakes: half of the replicates hold one class only
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    clusters = ["r", "r", "f", "f"]
    aucs = ClusterDraws(clusters, replicates=400).aucs(labels, scores, clusters)
    assert 140 < np.isnan(aucs).sum() < 260
    assert set(aucs[np.isfinite(aucs)]) == {0.75}
    assert auc_interval(labels, scores, clusters) == (0.75, 0.75)


def test_one_cluster_gives_no_interval():
    assert auc_interval(np.array([0, 1]), np.array([0.1, 0.9]), ["a", "a"]) is None


def test_fixed_seed_fixes_the_interval_whatever_the_order():
    labels, scores, clusters = clustered_set(3, 40, 4, 0.5)
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = [clusters[i] for i in order]
    interval = auc_interval(labels, scores, clusters)
    assert interval == auc_interval(labels, scores, clusters)
    assert interval == auc_interval(labels[order], scores[order], shuffled)
    assert interval == auc_interval(labels, np.exp(scores), clusters)
    assert interval != auc_interval(labels, scores, clusters, seed=1)


def test_interval_is_symmetric_in_the_logit():
    labels, scores, clusters = clustered_set(4, 40, 4, 0.5)
    low, high = auc_interval(labels, scores, clusters) or (np.nan, np.nan)
    auc = roc_auc_score(labels, scores)
    aucs = ClusterDraws(clusters).aucs(labels, scores, clusters)
    assert len(aucs) == 2000
    half = 1.959964 * aucs.std(ddof=1) / (auc * (1 - auc))
    assert special.logit([low, high]) == pytest.approx(special.logit(auc) + [-half, half], abs=1e-6)


def test_no_overlap_in_few_clusters_is_no_certainty():
    labels = np.repeat([0, 1], 20)
    apart = [f"{i}" for i in range(40)]
    low, high = auc_interval(labels, labels + 0.0, apart) or (0, 0)
    assert (low**20, high) == (pytest.approx(0.025), 1.0)
    assert auc_interval(labels, -labels + 0.0, apart) == (0.0, pytest.approx(1 - low))
    shared = [f"{i % 20}" for i in range(40)]  # a real and a fake in each of 20 clusters
    low, _ = auc_interval(labels, labels + 0.0, shared) or (0, 0)
    assert low**10 == pytest.approx(0.025)


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "videos"), [(0.996, 140), (0.999, 140), (0.996, 40)])
def test_intervals_near_one_cover_the_true_auc(truth, videos):
    """Independent videos; a fake and a real differ by N(shift, 2), so the AUC is known."""
    shift = np.sqrt(2) * stats.norm.ppf(truth)
    labels, clusters = np.repeat([0, 1], videos), [f"{i}" for i in range(2 * videos)]
    covered = []
    for seed in range(300):
        scores = np.random.default_rng(seed).normal(size=2 * videos) + shift * labels
        low, high = auc_interval(labels, scores, clusters, replicates=500) or (1, 0)
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.92


def test_copies_of_an_image_add_no_certainty():
    labels, scores, clusters = clustered_set(5, 50, 2, 0.5)
    many_labels, many_scores = np.repeat(labels, 10), np.repeat(scores, 10)
    interval = auc_interval(labels, scores, clusters)
    assert auc_interval(many_labels, many_scores, np.repeat(clusters, 10).tolist()) == interval
    frames = auc_interval(many_labels, many_scores, [f"{i}" for i in range(1000)])
    assert interval is not None
    assert frames is not None
    assert frames[1] - frames[0] < 0.5 * (interval[1] - interval[0])


@pytest.mark.slow
def test_intervals_cover_the_true_auc_on_clustered_data():
    """60 clusters of 8 images that share most of their score; P(fake > real) is known.

    A fake and a real score differ by N(1, 2): within a cluster as well as between clusters, the
    shared parts of the two classes being independent, so that the AUC is Phi(1 / sqrt 2).
    """
    truth = stats.norm.cdf(1 / np.sqrt(2))
    by_cluster, by_image = 0, 0
    trials = 200
    for seed in range(trials):
        labels, scores, clusters = clustered_set(1000 + seed, 60, 8, 0.9)
        images = [f"{i}" for i in range(len(labels))]
        low, high = auc_interval(labels, scores, clusters, replicates=400) or (1, 0)
        by_cluster += low <= truth <= high
        low, high = auc_interval(labels, scores, images, replicates=400) or (1, 0)
        by_image += low <= truth <= high
    assert 0.89 <= by_cluster / trials <= 0.99
    assert by_image / trials < 0.80
