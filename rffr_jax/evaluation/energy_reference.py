"""A reference that a detector must beat: logistic regression on energies of high-pass filters.

It is no deepfake detector: it sees only how much fine detail each part of a face has. A network
that has learnt anything from the same images knows more than that.
"""

import math
import warnings
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, Int, UInt8
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

CELLS = 8  # of the grid, on a side
FILTERS = (
    np.array([[-1, 1]]), np.array([[-1], [1]]), np.array([[1, -1], [-1, 1]]),
    np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
)  # fmt: skip
PENALTY = 0.01  # C of scikit-learn
NEAR_CHANCE = math.log(2) - 0.01
"""A training loss above it is that of a detector that says 50 % of every image."""
ALL_BUT_SOLVED = 0.99
"""From this AUC on nothing is left that a detector could show by being better."""


def energy_features(
    image: UInt8[np.ndarray, "size size 3"] | Float32[np.ndarray, "size size 3"],
) -> Float32[np.ndarray, " features"]:
    """log(1 + energy) of each of four high-pass filters in each cell of an 8 x 8 grid.

    Args:
      image: RGB in [0, 255], or a residual in as many levels.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    energies = [cv2.filter2D(grey, -1, kernel.astype(np.float32)) ** 2 for kernel in FILTERS]
    cells = [cv2.resize(e, (CELLS, CELLS), interpolation=cv2.INTER_AREA) for e in energies]
    return np.log(np.stack(cells).ravel() + 1)


def fit_energy_reference(
    features: Float32[np.ndarray, "n features"], labels: Int[np.ndarray, " n"]
) -> Pipeline:
    """Standardised features, and a logistic regression in which both classes weigh the same.

    `decision_function` of the result gives raw scores.
    """
    regression = LogisticRegression(C=PENALTY, max_iter=1000, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), regression).fit(features, labels)


def detector_doubts(check: Mapping[str, float | str | None]) -> Sequence[str]:
    """Why a detector counts as untrained; empty if nothing speaks for it.

    Args:
      check: as `training.reference_check` makes it: `loss`, `auc` and `reference_auc`, each None
        where it is not known; {} where nobody looked.
    """
    loss, auc, reference = (check.get(name) for name in ("loss", "auc", "reference_auc"))
    found = []
    if isinstance(loss, float) and not loss < NEAR_CHANCE:
        found.append(f"its training loss is {loss:.3f}, near ln 2")
    if (
        isinstance(auc, float)
        and isinstance(reference, float)
        and not (auc > reference or auc >= ALL_BUT_SOLVED)
    ):
        found.append(
            f"on unseen images of the fakes that it was trained on its AUC is {100 * auc:.1f}, and "
            f"that of a logistic regression on energies of high-pass filters {100 * reference:.1f}"
        )
    return found
