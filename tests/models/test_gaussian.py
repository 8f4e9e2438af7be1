"""The running Gaussian against scikit-learn's Ledoit-Wolf and SciPy's distance, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from rffr_jax.models.gaussian import JITTER, RunningGaussian

WIDTH = 6


def drawn(seed, samples):
    """Correlated features far from 0, with heavy tails."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(WIDTH, WIDTH))
    return (rng.standard_t(5, (samples, WIDTH)) @ mixing + 5).astype(np.float32)


def added(gaussian, features, counts=None):
    counts = np.ones(len(features), bool) if counts is None else counts
    gaussian.add(jnp.asarray(features), jnp.asarray(counts))


def assert_fitted_to(gaussian, features):
    expected = LedoitWolf().fit(np.asarray(features, np.float64))
    np.testing.assert_allclose(gaussian.mean[...], expected.location_, rtol=1e-5)
    jitter = JITTER * np.trace(expected.covariance_) / WIDTH
    asked = drawn(9, 20)
    precision = np.linalg.inv(expected.covariance_ + jitter * np.eye(WIDTH))
    distances = [mahalanobis(one, expected.location_, precision) for one in asked]
    np.testing.assert_allclose(gaussian.distance(jnp.asarray(asked)), distances, rtol=2e-4)


@pytest.mark.parametrize("samples", [8, 300])
def test_it_is_ledoit_and_wolfs_of_all_that_was_added(samples):
    """Few samples shrink the covariance much, many a little."""
    features, gaussian = drawn(0, samples), RunningGaussian(WIDTH)
    for part in np.array_split(features, 3):
        added(gaussian, part)
    gaussian.fit(jnp.array(True))
    assert bool(gaussian.is_fitted)
    assert_fitted_to(gaussian, features)


def test_each_window_counts_anew():
    first, second, gaussian = drawn(0, 50), drawn(1, 60) - 9, RunningGaussian(WIDTH)
    for features in (first, second):
        added(gaussian, features)
        gaussian.fit(jnp.array(True))
        assert_fitted_to(gaussian, features)
        assert gaussian.count[...] == 0


def test_features_that_do_not_count_change_nothing():
    features, counts = drawn(0, 40), np.arange(40) % 3 > 0
    features[~counts] = np.nan
    gaussian = RunningGaussian(WIDTH)
    added(gaussian, features, counts)
    gaussian.fit(jnp.array(True))
    assert_fitted_to(gaussian, features[counts])


def test_it_waits_for_the_window_to_end_and_for_two_features():
    gaussian = RunningGaussian(WIDTH)
    added(gaussian, drawn(0, 1))
    gaussian.fit(jnp.array(True))
    assert not bool(gaussian.is_fitted)
    np.testing.assert_array_equal(gaussian.distance(jnp.asarray(drawn(9, 3))), np.zeros(3))
    added(gaussian, drawn(1, 30))
    gaussian.fit(jnp.array(False))
    assert not bool(gaussian.is_fitted)
    gaussian.fit(jnp.array(True))
    assert_fitted_to(gaussian, np.concatenate([drawn(0, 1), drawn(1, 30)]))


def test_a_singular_covariance_of_many_features_has_a_finite_whitening():
    """Each feature's sum is 0, as behind a layer normalisation. Nothing is shrunk."""
    features = 100 * drawn(0, 20_000)
    features -= features.mean(axis=1, keepdims=True)
    gaussian = RunningGaussian(WIDTH)
    added(gaussian, features)
    gaussian.fit(jnp.array(True))
    assert bool(gaussian.is_fitted)
    y = np.asarray(features, np.float64) - features.mean(axis=0, dtype=np.float64)
    precision = np.linalg.pinv(y.T @ y / len(y), rcond=1e-6)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", y[:20], precision, y[:20]))
    np.testing.assert_allclose(gaussian.distance(jnp.asarray(features[:20])), expected, rtol=1e-2)


def test_features_that_are_all_equal_leave_it_as_it_was():
    features, gaussian = drawn(0, 50), RunningGaussian(WIDTH)
    for given in (features, np.ones((4, WIDTH), np.float32)):
        added(gaussian, given)
        gaussian.fit(jnp.array(True))
        assert_fitted_to(gaussian, features)
        assert gaussian.count[...] == 0
