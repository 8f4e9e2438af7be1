"""Where a detector says "fake": a threshold chosen on validation data, and what follows from it."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation import calibration, metrics
from rffr_jax.evaluation.calibration import Calibration
from rffr_jax.evaluation.metrics import Labels, Scores
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.runs.whole_files import read_json, write_json

log = logging.getLogger(__name__)

EVEN = 0.5


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold and a calibration, and the validation data that both come from.

    Attributes:
      threshold: of raw scores; one above it says "fake".
      max_fpr: share of reals that it may flag, as `threshold_at_fpr`; None where nothing was
        chosen.
      calibration: from score to probability, only to be shown; None where nothing was fitted, or
        fakes do not score higher than reals.
      chosen_on: `data` (specs), `n_real`, `n_fake`, `auc`; empty where nothing was chosen.
      origins: of the validation data.
    """

    threshold: float = EVEN
    max_fpr: float | None = None
    calibration: Calibration | None = None
    chosen_on: dict[str, Any] = dataclasses.field(default_factory=dict)
    origins: Origins = dataclasses.field(default_factory=Origins)

    def said(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {
            "threshold": self.threshold,
            "max_fpr": self.max_fpr,
            "chosen_on": self.chosen_on or None,
            "calibration": self.calibration and calibration.to_json(self.calibration),
        }


NONE_CHOSEN = OperatingPoint()


def shared_with_test(origins: Origins, tests: Sequence[Example]) -> str:
    """Says which tested examples are of originals, or files, that are to choose; empty if none."""
    shared = [example for example in tests if origins.hold(example)]
    if not shared:
        return ""
    first = shared[0]
    return (
        f"{len(shared)} of {len(tests)} test images share their original or file with it, the "
        f"first '{first.id}' of dataset '{first.dataset}'"
    )


def choose(
    validation: Predictions, specs: Sequence[str], max_fpr: float, method: str
) -> OperatingPoint:
    """A threshold and a calibration from the scores of validation data.

    Args:
      validation: of both classes.
      specs: what the data are called.
      max_fpr: share of reals that the threshold may flag, in [0, 1).
      method: of `calibration.fit`.
    """
    labels, scores = validation.labels, validation.scores
    fitted, auc = calibration.fit(method, labels, scores), metrics.auc(labels, scores)
    return OperatingPoint(
        threshold=threshold_at_fpr(labels, scores, max_fpr),
        max_fpr=max_fpr,
        calibration=fitted if fitted.rises and auc > EVEN else None,
        chosen_on={
            "data": list(specs),
            "n_real": int(np.count_nonzero(labels == REAL)),
            "n_fake": int(np.count_nonzero(labels == FAKE)),
            "auc": auc,
        },
        origins=Origins.of(validation.examples),
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
    return float(reals[len(reals) - 1 - _most_above(len(reals), max_fpr)])


def expected_fpr(reals: int, max_fpr: float) -> float:
    """The chance that a new real is flagged by `threshold_at_fpr` of `reals` others."""
    return (_most_above(reals, max_fpr) + 1) / (reals + 1)


def _most_above(reals: int, max_fpr: float) -> int:
    allowed = math.floor(max_fpr * (reals + 1) + 1e-9)  # 0.29 x 100 is a hair below 29
    return min(max(allowed - 1, 0), reals - 1)


def rates(
    labels: Labels, scores: Scores, threshold: float, prevalence: float
) -> dict[str, float | None]:
    """Shares of reals (`fpr`) and fakes (`tpr`) above a threshold, and `ppv`.

        ppv = tpr x prevalence / (tpr x prevalence + fpr x (1 - prevalence))

    is the chance that what is flagged is fake where a share `prevalence` of all images is; None
    where nothing is flagged. A rate of a class that is not there is None.
    """
    flagged = scores > threshold
    fpr, tpr = (
        float(flagged[labels == label].mean()) if (labels == label).any() else None
        for label in (REAL, FAKE)
    )
    ppv = None
    if fpr is not None and tpr is not None and fpr + tpr > 0:
        hits = tpr * prevalence
        ppv = hits / (hits + fpr * (1 - prevalence))
    return {"fpr": fpr, "tpr": tpr, "ppv": ppv}


def by_group(part: Predictions, threshold: float) -> dict[str, dict[str, Any]]:
    """`n_real, n_fake, fpr, tpr` of every group that examples name."""
    labels, groups = part.labels, np.array([example.group for example in part.examples])
    found = {}
    for group in sorted(set(groups.tolist()) - {""}):
        rows = groups == group
        own = rates(labels[rows], part.scores[rows], threshold, EVEN)
        found[group] = {
            "n_real": int(np.count_nonzero(labels[rows] == REAL)),
            "n_fake": int(np.count_nonzero(labels[rows] == FAKE)),
            "fpr": own["fpr"],
            "tpr": own["tpr"],
        }
    return found


def keep(file: Path, point: OperatingPoint, weights: str):
    """Writes it beside the detector, for the weights with this digest alone."""
    write_json(file, {"weights": weights, **point.said(), "origins": point.origins.to_json()})


def kept(file: Path, weights: str) -> OperatingPoint:
    """What `keep` wrote; `NONE_CHOSEN` if nothing is there, or of other weights.

    Raises:
      UserError: the file is damaged.
    """
    if not file.is_file():
        return NONE_CHOSEN
    try:
        record = read_json(file)
        if record["weights"] != weights:
            return NONE_CHOSEN
        point = OperatingPoint(
            threshold=float(record["threshold"]),
            max_fpr=float(record["max_fpr"]),
            calibration=record["calibration"] and calibration.from_json(record["calibration"]),
            chosen_on=dict(record["chosen_on"]),
            origins=Origins.from_json(record["origins"]),
        )
        if not 0 <= point.threshold <= 1:
            raise ValueError("a threshold that is not in [0, 1]")
        auc = float(point.chosen_on["auc"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{file} is damaged ({reason}); delete it, or make it anew with the job evaluate and "
            "--config.data.validation"
        ) from None
    if point.calibration and not point.calibration.rises:
        log.warning("%s: %s; its threshold is used", file, no_calibration(auc))
        point = dataclasses.replace(point, calibration=None)
    return point


def no_calibration(auc: float) -> str:
    """Why there is no calibration where one was fitted."""
    return (
        "no calibration is used, because probabilities would not rise with scores: fakes do not "
        f"score higher than reals (validation AUC {auc:.3f})"
    )
