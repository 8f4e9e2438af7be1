"""A threshold of scores, chosen on validation data of one medium, and its rates on others."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rffr_jax.evaluation import calibration, metrics
from rffr_jax.evaluation.aggregate import AGGREGATES, VideoScore
from rffr_jax.evaluation.calibration import Calibration
from rffr_jax.evaluation.metrics import Labels, Scores
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE, REAL

DEFAULT_THRESHOLD = 0.5
CHANCE_AUC = 0.5


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A threshold and a calibration of scores that were formed in one way.

    Attributes:
      value: of raw scores; one above it says "fake".
      max_fpr: share of reals that it may flag, as `threshold_at_fpr`; None where nothing was
        chosen.
      n_real, n_fake: images or videos that chose it; of several sources, the reals of `source`.
      auc: of their scores; None without fakes.
      video_score: how the scores of videos were formed; None for scores of single images.
      calibration: from score to probability, only to be shown; None where nothing was fitted, or
        fakes do not score higher than reals.
      source: the data set whose reals decided, where each was to keep `max_fpr`; else ''.
      source_reals: how many reals of each data set there were, where each was to keep it.
    """

    value: float = DEFAULT_THRESHOLD
    max_fpr: float | None = None
    n_real: int = 0
    n_fake: int = 0
    auc: float | None = None
    video_score: VideoScore | None = None
    calibration: Calibration | None = None
    source: str = ""
    source_reals: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def expected_fpr(self) -> float | None:
        """The chance that a new real of the same kind is flagged; None where nothing was chosen.

        Of several sources it is the largest, each of which its own reals bound from above.
        """
        if self.max_fpr is None:
            return None
        return max(expected_fpr(n, self.max_fpr) for n in self.reals.values())

    @property
    def reals(self) -> Mapping[str, int]:
        """How many reals had to keep `max_fpr`, by source; under '' all of them together."""
        return self.source_reals or {self.source: self.n_real}

    def to_json(self) -> dict[str, Any]:
        """Its entry of `thresholds` in JSON files; the calibration has a place of its own."""
        formed = self.video_score
        return {
            "value": self.value,
            "max_fpr": self.max_fpr,
            "expected_fpr": self.expected_fpr,
            "n_real": self.n_real,
            "n_fake": self.n_fake,
            "source": self.source,
            "source_reals": dict(self.source_reals),
            "auc": self.auc,
            "aggregate": formed and formed.aggregate,
            "top_k": formed and formed.top_k,
            "frames_per_video": formed and formed.frames,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], fitted: dict[str, Any] | None) -> "Threshold":
        """What `to_json` and `calibration.to_json` made.

        Raises:
          KeyError, TypeError, ValueError: something else.
        """
        formed = None
        if record["aggregate"] is not None:
            top_k, frames = int(record["top_k"]), int(record["frames_per_video"])
            if record["aggregate"] not in AGGREGATES:
                raise ValueError(f"no aggregate: {record['aggregate']}")
            formed = VideoScore(record["aggregate"], top_k, frames)
        found = cls(
            value=float(record["value"]),
            max_fpr=float(record["max_fpr"]),
            n_real=int(record["n_real"]),
            n_fake=int(record["n_fake"]),
            auc=None if record["auc"] is None else float(record["auc"]),
            video_score=formed,
            calibration=None if fitted is None else calibration.from_json(fitted),
            source=str(record.get("source", "")),
            source_reals={k: int(n) for k, n in record.get("source_reals", {}).items()},
        )
        possible = 0 <= found.value <= 1 and 0 <= float(record["max_fpr"]) < 1
        if not possible or min(found.n_real, *found.reals.values()) < 1:
            raise ValueError("a threshold that is not possible")
        return found


def choose_threshold(
    labels: Labels,
    scores: Scores,
    max_fpr: float,
    method: str,
    video_score: VideoScore | None = None,
    sources: Sequence[str] = (),
) -> Threshold:
    """A threshold and a calibration from validation scores.

    Args:
      labels: with a real at least; without fakes there is no calibration.
      max_fpr: share of reals that the threshold may flag, in [0, 1).
      method: of `calibration.fit`, or `none`.
      video_score: how scores of videos were formed.
      sources: the data set of each score, where the threshold is to keep `max_fpr` in every one:
        the highest of the thresholds that each would choose. () takes all reals together.
    """
    fitted = auc = None
    counts = metrics.class_counts(labels)
    if counts["n_fake"]:
        auc = metrics.auc(labels, scores)
        if method != calibration.NONE:
            fitted = calibration.fit(method, labels, scores)
            fitted = fitted if fitted.is_increasing and auc > CHANCE_AUC else None
    value, source = threshold_at_fpr(labels, scores, max_fpr), ""
    source_reals: dict[str, int] = {}
    if len(sources):
        names = np.array(sources)
        of_source = {
            name: threshold_at_fpr(labels[names == name], scores[names == name], max_fpr)
            for name in sorted(set(names[labels == REAL].tolist()))
        }
        source = max(of_source, key=lambda name: of_source[name])
        value = of_source[source]
        reals = names[labels == REAL]
        source_reals = {name: int(np.count_nonzero(reals == name)) for name in of_source}
        counts["n_real"] = source_reals[source]
    return Threshold(
        value=value,
        max_fpr=max_fpr,
        **counts,
        auc=auc,
        video_score=video_score,
        calibration=fitted,
        source=source,
        source_reals=source_reals,
    )


def threshold_at_fpr(labels: Labels, scores: Scores, max_fpr: float) -> float:
    """The score of a real that a new real exceeds with a chance of at most `max_fpr`.

    Above it lie at most k = max(floor(max_fpr x (n + 1)) - 1, 0) of the n reals (split conformal
    prediction, Vovk et al. 2005). For a real that is exchangeable with them, each of the n + 1 is
    as likely to be among the k + 1 highest, and only those can exceed the threshold: the chance is
    `expected_fpr` = (k + 1) / (n + 1) without ties, less with them. It is a mean over choices of
    the n reals; one choice gives more or less.

    With fewer than 1 / max_fpr - 1 reals the threshold is the highest of all, and the chance,
    1 / (n + 1), is more than `max_fpr`.
    """
    reals = np.sort(scores[labels == REAL])
    return float(reals[len(reals) - 1 - _max_reals_above(len(reals), max_fpr)])


def expected_fpr(reals: int, max_fpr: float) -> float:
    """The chance that a new real is flagged by `threshold_at_fpr` of `reals` others."""
    return (_max_reals_above(reals, max_fpr) + 1) / (reals + 1)


def _max_reals_above(reals: int, max_fpr: float) -> int:
    allowed = math.floor(max_fpr * (reals + 1) + 1e-9)  # 0.29 x 100 is a hair below 29
    return min(max(allowed - 1, 0), reals - 1)


def rates_at_threshold(
    labels: Labels, scores: Scores, threshold: float, prevalence: float
) -> dict[str, float | None]:
    """Shares of reals (`fpr`) and fakes (`tpr`) above a threshold, and `ppv`.

        ppv = tpr x prevalence / (tpr x prevalence + fpr x (1 - prevalence))

    is the chance that what is flagged is fake where a share `prevalence` of all images is; None
    where nothing is flagged. A rate of a class that is not there is None.

    `fpr_high` is the upper end of Wilson's 95 % interval of `fpr` (1927), for independent reals,
    and `ppv_low` is the `ppv` of that rate: no alarm in 50 reals is not "no false alarms".
    """
    flagged = scores > threshold
    fpr, tpr = (
        float(flagged[labels == label].mean()) if (labels == label).any() else None
        for label in (REAL, FAKE)
    )
    reals = flagged[labels == REAL]
    fpr_high = None
    if len(reals):
        from scipy import stats  # slow to import

        test = stats.binomtest(int(np.count_nonzero(reals)), len(reals))
        fpr_high = float(test.proportion_ci(method="wilson").high)

    def ppv(rate: float | None) -> float | None:
        if rate is None or fpr is None or tpr is None or fpr + tpr == 0:
            return None
        hits = tpr * prevalence
        return hits / (hits + rate * (1 - prevalence))

    return {
        **{"fpr": fpr, "fpr_high": fpr_high, "tpr": tpr},
        **{"ppv": ppv(fpr), "ppv_low": ppv(fpr_high)},
    }


def rates_by_group(part: Predictions, threshold: float) -> dict[str, dict[str, Any]]:
    """`n_real, n_fake, fpr, fpr_high, tpr` of every group that examples name."""
    labels, groups = part.labels, np.array([example.group for example in part.examples])
    found = {}
    for group in sorted(set(groups.tolist()) - {""}):
        rows = groups == group
        own = rates_at_threshold(labels[rows], part.scores[rows], threshold, DEFAULT_THRESHOLD)
        rates = {name: own[name] for name in ("fpr", "fpr_high", "tpr")}
        found[group] = {**metrics.class_counts(labels[rows]), **rates}
    return found
