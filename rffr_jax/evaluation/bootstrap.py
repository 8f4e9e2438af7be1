"""How sure an AUC is: intervals over clusters of dependent examples."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy import special, stats

from rffr_jax.examples import FAKE, REAL

REPLICATES = 2000
SEED = 0
CONFIDENCE = 0.95
_AT_ONCE = 100


def auc_interval(
    labels: Integer[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    clusters: Sequence[str],
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """95 % interval of the AUC from a bootstrap over clusters, symmetric in its logit.

        logit(AUC) +- 1.96 sd / (AUC (1 - AUC)),   sd: of the AUC over replicates

    Near 1, percentiles of the replicates are too narrow (Qin & Hotilovac 2008 compare such
    intervals). Where all fakes score above all reals there is no spread at all, and the interval is
    that of Clopper and Pearson (1934) for m of m pairs of a real and a fake in order, no cluster in
    two pairs: from 0.025^(1/m) to 1. Where all fakes score below, it lies at the other end.

    As many clusters as there are, drawn with replacement; all examples of a cluster come along each
    time that it is drawn. Replicates without a real or without a fake have no AUC and are left out.

    Args:
      labels: 0 = real, 1 = fake, both present.
      scores: higher = more likely fake.
      clusters: `Example.cluster` of each example; examples of one cluster depend on each other.
      replicates: how many resamples.
      seed: of the random draws, which depend only on it and on the number of clusters.

    Returns:
      (low, high), or None where there is one cluster, which says nothing about spread.
    """
    names = np.asarray(clusters)
    if len(np.unique(names)) == 1:
        return None
    (auc,) = weighted_aucs(labels, scores, np.ones((len(labels), 1)))
    if auc in (0, 1):
        clusters_of = [len(np.unique(names[labels == label])) for label in (REAL, FAKE)]
        pairs = min(*clusters_of, len(np.unique(names)) // 2)
        bound = ((1 - CONFIDENCE) / 2) ** (1 / pairs)
        return (float(bound), 1.0) if auc else (0.0, float(1 - bound))
    draws = ClusterDraws(clusters, replicates=replicates, seed=seed)
    return logit_interval(auc, draws.aucs(labels, scores, clusters))


def logit_interval(auc: float, aucs: Float[np.ndarray, " replicates"]) -> tuple[float, float]:
    """The interval of `auc_interval`, from the replicates that are finite; `auc` not 0 or 1."""
    deviation = np.std(aucs[np.isfinite(aucs)], ddof=1)
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * deviation / (auc * (1 - auc))
    low, high = special.expit(special.logit(auc) + np.array([-half, half]))
    return float(low), float(high)


def percentile_interval(values: Float[np.ndarray, " replicates"]) -> tuple[float, float]:
    """The middle 95 % of the replicates that are finite."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values[np.isfinite(values)], [tail, 100 - tail])
    return float(low), float(high)


class ClusterDraws:
    """How often each cluster of dependent examples is drawn in each replicate.

    The same names and seed give the same draws, so that numbers of several detectors can be
    compared replicate by replicate.

    Args:
      names: of the clusters; each counts once.
    """

    def __init__(self, names: Iterable[Any], *, replicates: int = REPLICATES, seed: int = SEED):
        self._rows = {name: row for row, name in enumerate(sorted(set(names)))}
        count = len(self._rows)
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        drawn = (
            np.bincount(rng.integers(count, size=count), minlength=count).astype(np.uint16)
            for _ in range(replicates)
        )
        self._times = np.stack(list(drawn), axis=1)

    def __len__(self) -> int:
        """How many clusters there are."""
        return len(self._rows)

    def times(self, clusters: Sequence[Any]) -> Iterator[Float64[np.ndarray, "n some"]]:
        """How often each example is drawn, by its cluster, some replicates at a time."""
        rows = [self._rows[name] for name in clusters]
        for first in range(0, self._times.shape[1], _AT_ONCE):
            yield self._times[rows, first : first + _AT_ONCE].astype(np.float64)

    def aucs(
        self,
        labels: Integer[np.ndarray, " n"],
        scores: Float[np.ndarray, " n"],
        clusters: Sequence[Any],
    ) -> Float64[np.ndarray, " replicates"]:
        """The AUC of each replicate; NaN for one that lacks a class.

        Args:
          labels: 0 = real, 1 = fake.
          scores: higher = more likely fake.
          clusters: of each example.
        """
        return np.concatenate(
            [weighted_aucs(labels, scores, times) for times in self.times(clusters)]
        )


def weighted_aucs(
    labels: Integer[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    weights: Float64[np.ndarray, "n sets"],
) -> Float64[np.ndarray, " sets"]:
    """AUC under each of several weightings of the same examples (weighted Mann-Whitney).

        AUC = sum over fakes f of w_f (W(real < f) + W(real = f) / 2) / (W(real) W(fake))

    where W sums the weights of the reals. For whole-number weights, such as how often an example
    was drawn, all sums are exact, so the order of the examples does not matter at all.

    Returns:
      One AUC a column of `weights`; NaN where a class has no weight.
    """
    real, fake = np.flatnonzero(labels == REAL), np.flatnonzero(labels == FAKE)
    real = real[np.argsort(scores[real], kind="stable")]
    fake = fake[np.argsort(scores[fake], kind="stable")]
    below = np.searchsorted(scores[real], scores[fake], side="left")
    up_to = np.searchsorted(scores[real], scores[fake], side="right")

    real_weight = np.zeros((len(real) + 1, weights.shape[1]))
    np.cumsum(weights[real], axis=0, out=real_weight[1:])
    fake_weight = weights[fake]
    wins = np.einsum("fs,fs->s", fake_weight, real_weight[below])
    wins_and_ties = np.einsum("fs,fs->s", fake_weight, real_weight[up_to])
    pairs = real_weight[-1] * fake_weight.sum(axis=0)
    aucs = np.full(weights.shape[1], np.nan)
    return np.divide((wins + wins_and_ties) / 2, pairs, out=aucs, where=pairs > 0)
