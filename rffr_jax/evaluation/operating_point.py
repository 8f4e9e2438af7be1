"""Where a detector says "fake": a threshold chosen on validation data, and what follows from it."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rffr_jax.data.origins import Origins
from rffr_jax.errors import UserError
from rffr_jax.evaluation import calibration
from rffr_jax.evaluation.calibration import Calibration
from rffr_jax.evaluation.metrics import Labels, Scores
from rffr_jax.evaluation.predictions import Predictions
from rffr_jax.examples import FAKE, REAL, Example
from rffr_jax.runs.whole_files import read_json, write_json

EVEN = 0.5


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold and a calibration, and the validation data that both come from.

    Attributes:
      threshold: a score above it says "fake".
      max_fpr: share of the validation's reals that it may flag; None where nothing was chosen.
      calibration: from score to probability; None where nothing was fitted.
      chosen_on: `data` (specs), `n_real`, `n_fake`; empty where nothing was chosen.
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
    return OperatingPoint(
        threshold=threshold_at_fpr(labels, scores, max_fpr),
        max_fpr=max_fpr,
        calibration=calibration.fit(method, labels, scores),
        chosen_on={
            "data": list(specs),
            "n_real": int(np.count_nonzero(labels == REAL)),
            "n_fake": int(np.count_nonzero(labels == FAKE)),
        },
        origins=Origins.of(validation.examples),
    )


def threshold_at_fpr(labels: Labels, scores: Scores, max_fpr: float) -> float:
    """The lowest score of a real such that at most `max_fpr` of the reals lie above it.

    With fewer than 1 / max_fpr reals it is the highest of all.
    """
    reals = np.sort(scores[labels == REAL])
    flagged = math.floor(max_fpr * len(reals) + 1e-9)  # 0.29 x 100 is a hair below 29
    return float(reals[len(reals) - 1 - flagged])


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
            calibration=calibration.from_json(record["calibration"]),
            chosen_on=dict(record["chosen_on"]),
            origins=Origins.from_json(record["origins"]),
        )
        assert point.calibration is not None
        used = point.calibration.probabilities(np.array([0.0, point.threshold, 1.0]))
        if not 0 <= point.threshold <= 1 or not ((used >= 0) & (used <= 1)).all():
            raise ValueError("a number is not possible")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{file} is damaged ({reason}); delete it, or make it anew with the job evaluate and "
            "--config.data.validation"
        ) from None
    return point
