"""Scores as probabilities: their reliability, and maps from scores to probabilities.

A detector's score is a softmax, and says 0.9 far more often than it is right in 90 of 100 cases.
A map fitted on validation data makes a probability of it, for data like those: with as many fakes
among the images. Probabilities are only shown: thresholds and verdicts are about raw scores.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from rffr_jax.errors import UserError
from rffr_jax.evaluation.metrics import Labels, Scores
from rffr_jax.examples import FAKE, REAL

METHODS = ("platt", "isotonic")
NONE = "none"
BINS = 15
_EPSILON = 1e-12  # of a score to 0 or 1, so that its logit is finite


@dataclasses.dataclass(frozen=True)
class Platt:
    """P(fake) = sigmoid(slope x logit(score) + intercept) (Platt 1999)."""

    slope: float
    intercept: float

    def probabilities(self, scores: Scores) -> Scores:
        """Calibrated probabilities of `fake`, for scores in [0, 1]."""
        return special.expit(self.slope * _logits(scores) + self.intercept)

    @property
    def is_increasing(self) -> bool:
        """Whether a higher score gets a higher probability."""
        return self.slope > 0


@dataclasses.dataclass(frozen=True)
class Isotonic:
    """P(fake) rises from one corner (score, probability) to the next (Zadrozny & Elkan 2002)."""

    scores: tuple[float, ...]
    corners: tuple[float, ...]

    def probabilities(self, scores: Scores) -> Scores:
        """Calibrated probabilities of `fake`; beyond the outer corners they stay level."""
        return np.interp(scores, self.scores, self.corners)

    @property
    def is_increasing(self) -> bool:
        """Whether a higher score never gets a lower probability, and some get a higher one."""
        level = (np.diff(self.scores) > 0).all() and (np.diff(self.corners) >= 0).all()
        return bool(level and self.corners[-1] > self.corners[0])


Calibration = Platt | Isotonic


def check_method(method: str):
    """Raises: UserError if the method is not known."""
    if method not in (*METHODS, NONE):
        known = ", ".join(METHODS)
        raise UserError(f"calibration={method!r} is not known; choose {known} or {NONE}")


def fit(method: str, labels: Labels, scores: Scores) -> Calibration:
    """Fits a map from scores to probabilities.

    Where fakes do not score higher than reals, it is not increasing: see `is_increasing`.

    Args:
      method: `platt`, two numbers, for hundreds of images; or `isotonic`, any rising map, for
        thousands.
      labels: 0 = real, 1 = fake, both present; of validation data, never of a test set.
      scores: in [0, 1].

    Raises:
      UserError: unknown method.
      ValueError: `none`, which fits nothing.
    """
    check_method(method)
    if method == NONE:
        raise ValueError("the method 'none' fits nothing")
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression  # slow to import, and only fitting needs it

        found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, labels)
        return Isotonic(tuple(found.X_thresholds_.tolist()), tuple(found.y_thresholds_.tolist()))
    from sklearn.linear_model import LogisticRegression

    reals, fakes = np.count_nonzero(labels == REAL), np.count_nonzero(labels == FAKE)
    # Platt's targets: short of 0 and 1, so that separable scores have a finite solution.
    target = np.where(labels == FAKE, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    inputs = np.concatenate([_logits(scores), _logits(scores)])[:, None]
    both = np.repeat([FAKE, REAL], len(labels))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit(inputs, both, sample_weight=np.concatenate([target, 1 - target]))
    return Platt(float(np.ravel(model.coef_)[0]), float(np.ravel(model.intercept_)[0]))


def to_json(calibration: Calibration) -> dict[str, Any]:
    """The map as an object with `method` and its numbers."""
    method = "platt" if isinstance(calibration, Platt) else "isotonic"
    return {"method": method, **dataclasses.asdict(calibration)}


def from_json(record: dict[str, Any]) -> Calibration:
    """What `to_json` made.

    Raises:
      KeyError, TypeError, ValueError: something else; a probability of it is not in [0, 1], or it
        is not increasing.
    """
    if record["method"] == "platt":
        found = Platt(float(record["slope"]), float(record["intercept"]))
    else:
        corners = tuple(map(float, record["corners"]))
        found = Isotonic(tuple(map(float, record["scores"])), corners)
    if not all(0 <= p <= 1 for p in found.probabilities(np.array([0.0, 0.5, 1.0]))):
        raise ValueError("a calibration that gives no probabilities")
    if not found.is_increasing:
        raise ValueError("a calibration that does not rise")
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of equal width in the probability of `fake`; empty ones are left out.

    Attributes:
      count: images in each bin.
      mean_probability: mean probability there.
      fake_share: share of fakes there.
      brier: mean of (probability - label)^2 over images (Brier 1950).
      brier_skill: 1 - brier / s (1 - s), s being the share of fakes: 0 for always saying s, 1 for
        being right and sure.
    """

    count: np.ndarray
    mean_probability: Float[np.ndarray, " bins"]
    fake_share: Float[np.ndarray, " bins"]
    brier: float
    brier_skill: float

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean |mean_probability - fake_share| over images."""
        return float(
            np.average(np.abs(self.mean_probability - self.fake_share), weights=self.count)
        )


def reliability(labels: Labels, probabilities: Scores, bins: int = BINS) -> Reliability:
    """How often what was called fake with some probability is fake (a reliability diagram).

    Args:
      labels: 0 = real, 1 = fake, both present.
      probabilities: of `fake`, in [0, 1]; 1 belongs to the last bin.
    """
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    there = count > 0
    said = np.bincount(place, probabilities, bins)[there] / count[there]
    found = np.bincount(place, labels == FAKE, bins)[there] / count[there]
    brier, share = float(np.mean((probabilities - labels) ** 2)), np.mean(labels == FAKE)
    skill = float(1 - brier / (share * (1 - share)))
    return Reliability(count[there], said, found, brier, skill)


def _logits(scores: Scores) -> Scores:
    clipped = np.clip(scores, _EPSILON, 1 - _EPSILON)
    return np.log(clipped) - np.log1p(-clipped)
