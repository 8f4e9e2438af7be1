"""How sure an AUC, or a difference of two, is for other test people and other trainings, at once.

Trainings vary by their MAE and by the detector's seed, test images by the person that they show.
Every replicate draws clusters of test images once and levels of each factor once, for all rows and
all columns together (the pigeonhole bootstrap: Owen 2007, "The pigeonhole bootstrap"). AUC is taken
within a training, then averaged.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float64

from rffr_jax.evaluation.bootstrap import SEED, logit_interval, percentile_interval

FEWEST_LEVELS = 5
"""With fewer MAEs or seeds than this their spread is not known, and they are held fixed."""


@dataclasses.dataclass(frozen=True)
class CrossedInterval:
    """95 % of the mean; `fixed` says for each factor whether it was held fixed."""

    low: float
    high: float
    fixed: tuple[bool, ...]


def crossed_interval(
    differences: Float64[np.ndarray, "replicates maes seeds"], *, seed: int = SEED
) -> CrossedInterval:
    """The interval of a mean difference over trainings: percentiles of `crossed_means`.

    Args:
      differences: AUC of one row - AUC of the other; a factor that does not vary has one level.
      seed: of the draws of levels.
    """
    means, fixed = crossed_means(differences, seed=seed)
    return CrossedInterval(*percentile_interval(means), fixed)


def crossed_auc_interval(
    aucs: Float64[np.ndarray, "replicates maes seeds"], mean: float, *, seed: int = SEED
) -> CrossedInterval:
    """The interval of a mean AUC over trainings, symmetric in its logit as that of one detector.

    Args:
      aucs: under each draw of test people.
      mean: over trainings, of all people. At 0 and 1 nothing varies, and the interval has no width.
      seed: of the draws of levels.
    """
    means, fixed = crossed_means(aucs, seed=seed)
    low, high = (mean, mean) if mean in (0, 1) else logit_interval(mean, means)
    return CrossedInterval(low, high, fixed)


def crossed_means(
    values: Float64[np.ndarray, "replicates maes seeds"], *, seed: int = SEED
) -> tuple[Float64[np.ndarray, " replicates"], tuple[bool, ...]]:
    """Replicates of the mean over trainings, from their numbers under draws of test people.

    With d*(m, s) the number of MAE m and detector seed s under one draw of clusters, v* and u* the
    shares of levels drawn with replacement, a replicate is

        mean d* + c_M (sum v*_m d*_m. - mean d*) + c_S (sum v*_m u*_s d*_ms - sum v*_m d*_m.)
        c_n = sqrt(n / (n - 1))

    because a bootstrap over n levels has a variance that is too small by (n - 1) / n. A factor of
    fewer than `FEWEST_LEVELS` is held fixed: then the replicates speak only of these levels.

    Args:
      seed: of the draws of levels.

    Returns:
      The replicates, and whether each factor was held fixed.
    """
    replicates, *counts = values.shape
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    fixed = tuple(count < FEWEST_LEVELS for count in counts)
    shares = [
        np.full((replicates, count), 1 / count)
        if is_fixed
        else rng.multinomial(count, np.full(count, 1 / count), size=replicates) / count
        for count, is_fixed in zip(counts, fixed, strict=True)
    ]
    mean = values.mean(axis=(1, 2))
    of_maes = np.einsum("rms,rm->r", values, shares[0]) / counts[1]
    of_both = np.einsum("rms,rm,rs->r", values, *shares)
    factors = [math.sqrt(count / max(count - 1, 1)) for count in counts]
    return mean + factors[0] * (of_maes - mean) + factors[1] * (of_both - of_maes), fixed
